"""Which people the new voices belong to: those who speak in the video at the same times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.active.presence import Presence
from client.media import AudioSource
from client.pipelines.voice import VoiceActivity
from client.scene.scene import TimeSpan
from client.servers.calls import TritonCalls
from client.tracking.face_boxes import FaceBoxes

STEP_S = 0.04  # at which a voice without segments is asked whether it speaks
HEARD = 0.5  # share of the mouth's motion from which on it does


def faces_of_voices(
    people: Sequence[Presence],
    speaking: np.ndarray,
    held: np.ndarray,
    times_s: np.ndarray,
    voices: Sequence[Sequence[TimeSpan]],
) -> tuple[tuple[FaceBoxes, ...], tuple[str, ...]]:
    """Choose a face for each voice.

    Args:
        people: whom a voice may get.
        speaking: int32 [F], who speaks in each frame with speech; 0 for nobody.
        held: int32 [F], the same, with silent frames given to somebody.
        times_s: float64 [F], when the frames are shown in the output.
        voices: when each voice speaks, on the output's timeline.

    Returns:
        a face for each voice: whoever speaks if there is one voice, else one person each, the pairs that agree longest
        first; and what the user should know, one sentence each.
    """
    if len(voices) == 1:
        return (_whoever_speaks(people, held),), ()
    heard = [np.any([_inside(span, times_s) for span in spans] or [times_s < 0], axis=0) for spans in voices]
    agreed = [[int((spoken & (speaking == person.number)).sum()) for person in people] for spoken in heard]
    present = [[int(spoken[person.frames].sum()) for person in people] for spoken in heard]
    order = sorted(
        ((agreed[i][j], present[i][j], -i, -j) for i in range(len(voices)) for j in range(len(people))), reverse=True
    )
    chosen: dict[int, int] = {}
    for _, _, i, j in order:
        if -i not in chosen and -j not in chosen.values():
            chosen[-i] = -j
    faces = tuple(
        _whole(people[chosen[i]], len(speaking)) if i in chosen else FaceBoxes({}) for i in range(len(voices))
    )
    unsure = [i for i in range(len(voices)) if i not in chosen or not agreed[i][chosen[i]]]
    return faces, tuple(_unsure(i + 1, found=i in chosen) for i in unsure)


def largest_faces(
    people: Sequence[Presence], voices: int, frames: int
) -> tuple[tuple[FaceBoxes, ...], tuple[str, ...]]:
    """Choose a face for each voice where nobody is known to speak: the largest ones, in view for long.

    Args:
        people: whom a voice may get.
        voices: how many there are.
        frames: how many frames the video has.

    Returns:
        a face for each voice, and what the user should know, one sentence each.
    """
    largest = sorted(people, key=lambda person: -person.mean_area * len(person.frames))[:voices]
    missing = range(len(largest), voices)
    faces = (*(_whole(person, frames) for person in largest), *(FaceBoxes({}) for _ in missing))
    return faces, tuple(_unsure(i + 1, found=False) for i in missing)


def spans_of_voice(triton: TritonCalls, voice: AudioSource, until_s: float) -> tuple[TimeSpan, ...]:
    """Return when somebody speaks in a recording, for voices without segments.

    Args:
        triton: a server with the model `voice_activity`.
        voice: the recording, from 0 s on.
        until_s: the end of what is needed, in seconds.
    """
    times = np.arange(0, min(until_s, voice.duration), STEP_S)
    if not len(times):
        return ()
    speaks = VoiceActivity(triton, voice).at(times) >= HEARD
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speaks.astype(np.int8), [0]])))
    return tuple(TimeSpan(first * STEP_S, end * STEP_S) for first, end in edges.reshape(-1, 2).tolist())


def _whoever_speaks(people: Sequence[Presence], held: np.ndarray) -> FaceBoxes:
    boxes: dict[int, np.ndarray] = {}
    for person in people:
        speaks = held[person.frames] == person.number
        boxes |= zip(person.frames[speaks].tolist(), person.boxes[speaks], strict=True)
    return FaceBoxes(boxes)


def _whole(person: Presence, frames: int) -> FaceBoxes:
    return FaceBoxes(dict(zip(person.frames.tolist(), person.boxes, strict=True)), frames)


def _inside(span: TimeSpan, times_s: np.ndarray) -> np.ndarray:
    return (span.start_s <= times_s) & (times_s < span.end_s)


def _unsure(number: int, *, found: bool) -> str:
    if not found:
        return f"there are fewer people than speakers with face auto, so that number {number} of these has no face"
    return f"nobody speaks in it when number {number} of the speakers with face auto does; another person was taken"
