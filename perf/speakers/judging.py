"""Compares who is found to speak with who does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.active.speakers import ActiveSpeakers
from client.media import TimelineFrame
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, Face
from client.tracking.finder import follow
from perf.speakers.scenes import NOBODY, SILENCE, Scene


@dataclass(frozen=True)
class Assigned:
    """Shares of frames, 0 to 1.

    Attributes:
        right: frames with speech in which the voice has the right face, or none where nobody in view speaks.
        largest: the same of the largest face, followed as by default.
        identity: frames in which people have the number that they have most often, of all people in view.
        frames: number of frames with speech.
    """

    right: float
    largest: float
    identity: float
    frames: int


def judge(scene: Scene, active: ActiveSpeakers, frames: Sequence[TimelineFrame], width: int) -> Assigned:
    """Judge what was found in a composed scene; `frames` are its frames on the timeline."""
    assert isinstance(active.faces[0], FaceBoxes)
    boxes = active.faces[0].boxes
    found = active.remembered.find(frames)
    largest = [observed.face for observed in follow(found, LARGEST)]
    counted = [i for i, truth in enumerate(scene.truth) if truth != SILENCE]
    ours = [_who(boxes.get(i), scene.in_view[i], width) == scene.truth[i] for i in counted]
    theirs = [_who(_box(largest[i]), scene.in_view[i], width) == scene.truth[i] for i in counted]
    return Assigned(float(np.mean(ours)), float(np.mean(theirs)), _identity(scene, active, width), len(counted))


def mean_of(judged: Sequence[Assigned]) -> Assigned:
    """Average scenes by their frames."""
    weights = [scene.frames for scene in judged]
    right, largest, identity = (
        float(np.average([getattr(scene, name) for scene in judged], weights=weights))
        for name in ("right", "largest", "identity")
    )
    return Assigned(right, largest, identity, sum(weights))


def _who(box: np.ndarray | None, in_view: tuple[int, ...], width: int) -> int:
    """Return who has a box; NOBODY without one."""
    if box is None:
        return NOBODY
    position = int((box[0] + box[2]) / 2 / width * len(in_view))
    return in_view[min(max(position, 0), len(in_view) - 1)]


def _box(face: Face | None) -> np.ndarray | None:
    return None if face is None else face.box


def _identity(scene: Scene, active: ActiveSpeakers, width: int) -> float:
    """Return the share of faces whose number is the one that their person has most often."""
    pairs = Counter(
        (_who(box, scene.in_view[index], width), person.number)
        for person in active.people
        for index, box in zip(person.frames.tolist(), person.boxes, strict=True)
    )
    most: dict[int, tuple[int, int]] = {}
    for (who, number), count in pairs.items():
        most[who] = max(most.get(who, (0, 0)), (count, number))
    apart = len({number for _, number in most.values()}) == len(most)
    return sum(count for count, _ in most.values()) / max(sum(pairs.values()), 1) if apart else 0.0
