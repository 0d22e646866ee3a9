"""What a job would do, before it does: who has a face when, and a script that says the same without an analysis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from client.active.speakers import ActiveSpeakers
from client.active.speaking import FOUND_BY
from client.option import OptionValues
from client.scene.scene import FaceOfSpeaker, Scene, Speaker, TimeSpan, Voice
from client.scene.written import options_as_json
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice, show_face_choice
from client.tracking.follow import CutDetector, FaceLinker

SYNC, LEAVE = "lip-sync", "leave"
ROUNDING_S = 1e-6
SHORTEST_FRAMES = 5  # shorter parts of an entry are not listed; a job bridges such gaps
# Expected seconds: those that the analysis took, times this. A job decodes and searches once, too, and generates and
# encodes besides: mouth-motion's stages in perf/RESULTS.md take 2.4 times the work of decoding and searching.
JOB_PER_ANALYSIS = 2.4


@dataclass(frozen=True, eq=False)
class Turn:
    """A span in which a speaker speaks.

    Attributes:
        span: when, on the output's timeline.
        face: how the face was given.
        boxes: where it was found; None for a narrator.
        options: options of the segment.
    """

    span: TimeSpan
    face: FaceOfSpeaker
    boxes: FaceBoxes | None
    options: OptionValues = field(default_factory=OptionValues)


Turns = Sequence[Turn]


@dataclass(frozen=True)
class PlanEntry:
    """What is done with one speaker's voice in a span.

    Attributes:
        speaker: the speaker's name.
        start_s: when it starts, in seconds of the result.
        end_s: when it ends.
        action: SYNC, or LEAVE for pictures that are left as they are.
        why: the reason, in a few words.
        confidence: how sure it is that this person speaks in the video, 0 to 1; None where nobody had to find out.
        person: number of the person whose face it is; 0 for nobody.
    """

    speaker: str
    start_s: float
    end_s: float
    action: str
    why: str
    confidence: float | None = None
    person: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """What a job would do.

    Attributes:
        entries: in order of their starts.
        script: the script to edit; it names faces by boxes, so that a job need not find out who speaks.
        expected_s: how many seconds the job would take; None where the pipeline's speed is not known.
        warnings: what the user should know, one sentence each.
        faces: where each speaker's face is.
        active: who speaks in the video.
    """

    entries: tuple[PlanEntry, ...]
    script: dict[str, Any]
    expected_s: float | None
    warnings: tuple[str, ...]
    faces: tuple[FaceBoxes | None, ...]
    active: ActiveSpeakers

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "timeline": [vars(entry) for entry in self.entries],
            "speaking": self.active.speaking,
            "script": self.script,
            "expected_s": self.expected_s,
            "warnings": list(self.warnings),
        }

    def summary(self) -> str:
        """Describe the plan as a table, in lines."""
        width = max((len(entry.speaker) for entry in self.entries), default=0)
        lines = [
            f"{entry.start_s:8.2f} to {entry.end_s:8.2f} s  {entry.speaker:{width}}  {_sure(entry)}  {entry.action}:"
            f" {entry.why}"
            for entry in self.entries
        ]
        expected = "unknown for this model" if self.expected_s is None else f"about {self.expected_s:.0f} s"
        if self.active.speaking is not None:
            lines.append(FOUND_BY[self.active.speaking])
        return "\n".join([*lines, f"expected time: {expected}", *(f"warning: {line}" for line in self.warnings)])


def is_auto(face: FaceOfSpeaker) -> bool:
    """Say whether a face is whoever speaks in the video."""
    return isinstance(face, FaceChoice) and face.rule == "auto"


def make_plan(scene: Scene, turns: Sequence[Turns], active: ActiveSpeakers, expected_s: float | None) -> Plan:
    """Plan a job.

    Args:
        scene: who speaks when.
        turns: when each speaker speaks, and with which face.
        active: who speaks in the video.
        expected_s: how many seconds the job would take.
    """
    planner = _Planner(scene, active)
    entries = [
        entry
        for speaker, own in zip(scene.speakers, turns, strict=True)
        for turn in own
        for entry in planner.entries(speaker, turn)
    ]
    ordered = tuple(sorted(entries, key=lambda entry: (entry.start_s, entry.speaker)))
    faces = tuple(_shown_boxes(own, active) for own in turns)
    return Plan(ordered, planner.script(turns, entries), expected_s, active.warnings, faces, active)


class _Planner:
    def __init__(self, scene: Scene, active: ActiveSpeakers) -> None:
        self._scene, self._active = scene, active
        self._times = active.times_s
        self._end_s = _end_s(self._times)
        self._confidence = np.zeros(len(self._times))
        self._speaks = active.speakers()
        for span in active.spans:
            self._confidence[span.first : span.end] = span.confidence if span.voiced else np.nan
        self._person = {
            (int(frame), box.tobytes()): person.number
            for person in active.people
            for frame, box in zip(person.frames, person.boxes, strict=True)
        }

    def entries(self, speaker: Speaker, turn: Turn) -> Iterator[PlanEntry]:
        span, boxes = turn.span, turn.boxes
        if boxes is None:
            yield PlanEntry(speaker.name, span.start_s, min(span.end_s, self._end_s), LEAVE, "heard, without a face")
            return
        frames = np.flatnonzero((self._times >= span.start_s) & (self._times < span.end_s))
        for first, end in _runs(frames, lambda frame: self._state(int(frame), boxes)):
            yield self._entry(speaker, int(frames[first]), int(frames[end - 1]) + 1, turn, boxes)
        if math.isfinite(span.end_s) and span.end_s > self._end_s + ROUNDING_S:
            start_s = max(span.start_s, self._end_s)
            yield PlanEntry(speaker.name, start_s, span.end_s, SYNC, "the video has ended, and is shown again")

    def script(self, turns: Sequence[Turns], entries: Sequence[PlanEntry]) -> dict[str, Any]:
        """Return the script to edit.

        A person is named by the box at the start of the speaker's first segment with that person, and by the same box
        in later segments. Segments without a face are heard.
        """
        speakers = []
        for speaker, spoken in zip(self._scene.speakers, turns, strict=True):
            own = [self._open_ended(entry, spoken) for entry in entries if entry.speaker == speaker.name]
            people = {entry.person for entry in own if entry.person}
            first = {number: next(entry for entry in own if entry.person == number) for number in people}
            named = {number: self._box_at_start(entry) for number, entry in first.items()}
            face, segments = None, [_segment_of(entry, named.get(entry.person), spoken) for entry in own]
            if not people or (len(people) == 1 and not any(is_auto(turn.face) for turn in spoken)):
                face = next(iter(named.values()), None)
                segments = [_segment(turn.span, turn.options) for turn in spoken if speaker.segments]
            item = {"name": speaker.name, "voice": _voice(speaker.voice), "face": face}
            item |= options_as_json(speaker.options)
            speakers.append(item | {"segments": segments} if segments else item)
        script: dict[str, Any] = {"speakers": speakers}
        if self._scene.unchanged:
            script["unchanged"] = [
                [span.start_s, None if math.isinf(span.end_s) else span.end_s] for span in self._scene.unchanged
            ]
        return script

    def _open_ended(self, entry: PlanEntry, turns: Turns) -> PlanEntry:
        """Return an entry that goes on for as long as the result if its turn does."""
        is_last = math.isinf(turns[-1].span.end_s) and entry.end_s >= self._end_s - ROUNDING_S
        return replace(entry, end_s=math.inf) if is_last else entry

    def _state(self, frame: int, boxes: FaceBoxes) -> tuple[object, ...]:
        """Return what has to be the same in all frames of an entry."""
        if self._is_unchanged(frame):
            return ("unchanged",)
        return ("face", self._person_at(frame, boxes)) if frame in boxes.boxes else ("none",)

    def _entry(self, speaker: Speaker, first: int, end: int, turn: Turn, boxes: FaceBoxes) -> PlanEntry:
        span = turn.span
        start_s = max(float(self._times[first]), span.start_s)
        end_s = min(float(self._times[end]) if end < len(self._times) else self._end_s, span.end_s)
        if self._is_unchanged(first):
            return PlanEntry(speaker.name, start_s, end_s, LEAVE, "in a span to leave alone")
        if first not in boxes.boxes:
            why = "nobody in view speaks then" if is_auto(turn.face) else "not in view"
            return PlanEntry(speaker.name, start_s, end_s, LEAVE, why)
        person, why, confidence = self._person_at(first, boxes), _way(turn.face), None
        if is_auto(turn.face):
            confidence = self._confidence_of(person, first, end)
            why = "speaks in the video" if confidence else "the video is silent: spoke last, or speaks next"
        return PlanEntry(speaker.name, start_s, end_s, SYNC, why, confidence, person)

    def _confidence_of(self, person: int, first: int, end: int) -> float | None:
        sure = self._confidence[first:end][self._speaks[first:end] == person]
        known = sure[np.isfinite(sure)]
        return round(float(known.mean()), 3) if len(known) else None

    def _is_unchanged(self, frame: int) -> bool:
        moment = self._times[frame]
        return any(span.start_s <= moment < span.end_s for span in self._scene.unchanged)

    def _person_at(self, frame: int, boxes: FaceBoxes) -> int:
        return self._person.get((frame, np.asarray(boxes.boxes[frame], np.float32).tobytes()), 0)

    def _box_at_start(self, entry: PlanEntry) -> list[float]:
        """Return the box of an entry's person at its start, or as soon as the person is in view."""
        person = next(person for person in self._active.people if person.number == entry.person)
        at = int(np.searchsorted(self._times[person.frames], entry.start_s - ROUNDING_S))
        return [round(float(side), 1) for side in person.boxes[min(at, len(person.boxes) - 1)]]


def _shown_boxes(turns: Turns, active: ActiveSpeakers) -> FaceBoxes | None:
    """Return where a speaker's faces are while the speaker speaks; None for a narrator."""
    if all(turn.boxes is None for turn in turns):
        return None
    boxes: dict[int, np.ndarray] = {}
    for turn in turns:
        spoken = np.flatnonzero((active.times_s >= turn.span.start_s) & (active.times_s < turn.span.end_s))
        known = {} if turn.boxes is None else turn.boxes.boxes
        boxes |= {int(frame): known[int(frame)] for frame in spoken if int(frame) in known}
    return FaceBoxes(boxes)


def boxes_of(face: FaceBoxes | FaceChoice, active: ActiveSpeakers) -> FaceBoxes:
    """Return where a face is, following a choice as a job does."""
    if isinstance(face, FaceBoxes):
        return face
    cuts, linker, boxes = CutDetector(), FaceLinker(face), {}
    for index, (faces, thumbnail) in enumerate(active.remembered.each()):
        linked, _ = linker.link(faces, cuts.is_cut(thumbnail))
        if linked is not None:
            boxes[index] = linked.box
    return FaceBoxes(boxes)


def _runs(frames: np.ndarray, state: Callable[[Any], object]) -> Iterator[tuple[int, int]]:
    """Yield runs of one state, as positions in `frames`; short ones go on with the run before."""
    start, states = 0, [state(frame) for frame in frames]
    for position in range(1, len(states) + 1):
        ends = position == len(states)
        if ends or (
            states[position] != states[start]
            and states[position : position + SHORTEST_FRAMES].count(states[start]) == 0
        ):
            yield start, position
            start = position


def _end_s(times_s: np.ndarray) -> float:
    step = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return float(times_s[-1]) + step


def _way(face: FaceOfSpeaker) -> str:
    return f"the face {show_face_choice(face)}" if isinstance(face, FaceChoice) else "the face of its boxes"


def _sure(entry: PlanEntry) -> str:
    return "   -" if entry.confidence is None else f"{entry.confidence:4.2f}"


def _segment_of(entry: PlanEntry, box: list[float] | None, turns: Turns) -> dict[str, Any]:
    """Return the segment of an entry, with the options of the turn that it is a part of."""
    turn = next(turn for turn in reversed(turns) if turn.span.start_s <= entry.start_s)
    segment = _segment(TimeSpan(entry.start_s, entry.end_s), turn.options)
    return segment if box is None else segment | {"face": box}


def _segment(span: TimeSpan, options: OptionValues) -> dict[str, Any]:
    end = {} if math.isinf(span.end_s) else {"end": round(span.end_s, 3)}
    return {"start": round(span.start_s, 3)} | end | options_as_json(options)


def _voice(voice: Voice) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "file": str(voice.path.absolute()),
        "channel": voice.channel,
        "start": voice.start_s or None,
        "end": voice.end_s,
        "offset": voice.offset_s or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
