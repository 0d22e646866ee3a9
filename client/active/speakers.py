"""Finds who speaks in a video, in one pass over its frames, and gives faces to those speakers of a scene whose is auto.

How it decides: everybody in view is followed (`client.tracking.identity`). Each person's lips are compared with the
video's own sound (`client.active.scores`, or by choice `client.active.syncnet_scores`), and each shot is divided among
them, and nobody, so that the evidence is largest and changes are few (`client.active.deciding`). What it cannot know:
who speaks with the back to the camera or with a covered mouth; who says the words of a dubbed video, whose lips do not
follow the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from client.active.deciding import NOBODY, PersonEvidence, confidences, decide, hold
from client.active.presence import Presence, PresenceRecorder
from client.active.remembered import RememberedFaces
from client.active.scores import LipScores, Scores
from client.active.sound import SourceSound
from client.active.speaking import Speaking
from client.active.syncnet_scores import SyncNetScores
from client.active.voices import faces_of_voices, largest_faces
from client.chunks import IN_FLIGHT
from client.errors import MediaError, RequestRejected
from client.flow import ordered_map, prefetch
from client.media import SourceFrame, VideoSource
from client.progress import JobProgress
from client.scene.scene import TimeSpan
from client.servers.calls import TritonCalls
from client.syncnet.towers import towers_of
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, FaceChoice
from client.tracking.finder import FindsFaces
from client.tracking.identity import PeopleTracker
from client.tracking.people import SpeakerLinks

CLAIMED = 0.5  # share of a person's frames in which another speaker has the face, from which on it is that speaker's


@dataclass(frozen=True)
class ActiveSpan:
    """Adjacent frames in which one person speaks, or nobody.

    Attributes:
        first: the first frame, counted from the start of the used part.
        end: the frame behind the last one.
        person: the person's number; 0 for nobody.
        confidence: 0 to 1, mean over the frames with speech; 0 in spans without any.
        voiced: share of the frames with speech.
    """

    first: int
    end: int
    person: int
    confidence: float
    voiced: float


@dataclass(frozen=True, eq=False)
class ActiveSpeakers:
    """Who speaks in a video.

    Attributes:
        faces: for each speaker whose face is auto, that face.
        others: for each of the other speakers, where the face was found.
        spans: all frames in order; a single span of nobody without usable sound.
        people: everybody who is in view, in the order of appearance.
        times_s: float64 [F], when each frame is shown in the output, in seconds.
        shots: int32 [F], numbers of the shots, rising.
        remembered: all faces of all frames, so that they need not be found again.
        warnings: what the user should know, one sentence each.
        speaking: what told who speaks; None if that was not found out.
    """

    faces: tuple[FaceBoxes | FaceChoice, ...]
    others: tuple[FaceBoxes, ...]
    spans: tuple[ActiveSpan, ...]
    people: tuple[Presence, ...]
    times_s: np.ndarray
    shots: np.ndarray
    remembered: RememberedFaces
    warnings: tuple[str, ...]
    speaking: Speaking | None

    def speakers(self) -> np.ndarray:
        """Return who speaks in each frame, int32 [F]; 0 for nobody."""
        by_frame = np.zeros(len(self.times_s), np.int32)
        for span in self.spans:
            by_frame[span.first : span.end] = span.person
        return by_frame

    @property
    def people_speak(self) -> bool:
        """Whether anybody in view was found to speak."""
        return any(span.person != NOBODY for span in self.spans)

    def faces_by_person(self) -> list[FaceChoice | FaceBoxes]:
        """Return the face of everybody who speaks, in the frames in which that person does."""
        speaking = self.speakers()
        return [face for face in (_spoken_face(person, speaking) for person in self.people) if face.boxes]


def _spoken_face(person: Presence, speaking: np.ndarray) -> FaceBoxes:
    speaks = speaking[person.frames] == person.number
    boxes, silent = (
        dict(zip(person.frames[rows].tolist(), person.boxes[rows], strict=True)) for rows in (speaks, ~speaks)
    )
    return FaceBoxes(boxes, len(speaking), silent)


def find_active_speakers(
    triton: TritonCalls,
    finder: FindsFaces,
    video: VideoSource,
    voices: Sequence[Sequence[TimeSpan]],
    others: Sequence[FaceChoice | FaceBoxes] = (),
    *,
    window_frames: int,
    progress: JobProgress,
    wanted: Callable[[SourceFrame], Sequence[bool]] | None = None,
    speaking: Speaking = "lips",
) -> ActiveSpeakers:
    """Find who speaks when in a video, and choose the faces of those speakers whose face is auto.

    One such speaker has whoever speaks at the time, and in silence whoever spoke last or speaks next: see `hold`.
    Several such speakers have one person each: those who speak in the video when they do.

    Args:
        triton: a server with the models of the finder and `voice_activity`.
        finder: finds the faces, with landmarks.
        video: the video, or a span of it.
        voices: when each speaker whose face is auto speaks, on the output's timeline, in order.
        others: the faces of the other speakers, whom no speaker with auto gets.
        window_frames: frames per request.
        progress: is told the stage and the frames.
        wanted: which of the other speakers' faces a frame needs, see `link_people`; None if all frames need all.
        speaking: what tells who speaks.

    Raises:
        LipSyncError: the video cannot be decoded, or the server fails, or has no SyncNet that is asked for.
    """
    try:
        sound: SourceSound | None = SourceSound(triton, video)
    except MediaError:
        sound = None
    with nullcontext() if sound is None else sound:
        measure = None if sound is None else _scores_of(speaking, triton, sound, float(video.time_base))
        seen = _look_through(triton, finder, video, others, measure, window_frames, progress, wanted)
        voiced = np.zeros(len(seen.times_s), bool) if sound is None else sound.voiced(seen.middles_s)
        reason = _obstacle(measure, voiced)
        if measure is None or reason:
            return seen.undecided(len(voices), f"{video.path.name}: {reason}, so that nobody is known to speak in it")
        found = _decided(seen, measure, voiced, voices, float(video.rate))
        return replace(found, speaking=speaking) if found.people_speak else found


def _scores_of(speaking: Speaking, triton: TritonCalls, sound: SourceSound, time_base: float) -> Scores:
    if speaking == "lips":
        return LipScores(sound)
    towers = towers_of(triton)
    if towers is None:
        raise RequestRejected(
            option="speaking",
            expected="a server with SyncNet",
            got="one without",
            advice="Export it, see docs/models.md, or choose lips",
        )
    return SyncNetScores(towers, sound.of_video(), time_base)


def _obstacle(measure: Scores | None, voiced: np.ndarray) -> str:
    """Say why nobody can be found to speak; empty if somebody may be."""
    if measure is None:
        return "its sound cannot be used"
    if not voiced.any():
        return "there is no speech in its own sound"
    return "" if measure.is_usable else "no lips were found"


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one pass over the frames has found; as in ActiveSpeakers."""

    people: list[Presence]
    file_times_s: np.ndarray
    durations_s: np.ndarray
    times_s: np.ndarray
    shots: np.ndarray
    remembered: RememberedFaces
    others: tuple[FaceBoxes, ...]

    @property
    def middles_s(self) -> np.ndarray:
        return np.asarray(self.file_times_s + self.durations_s / 2)

    @property
    def free_people(self) -> list[Presence]:
        """Those whose face no other speaker has."""
        return [person for person in self.people if person.claimed < CLAIMED]

    def undecided(self, voices: int, reason: str) -> ActiveSpeakers:
        spans = (ActiveSpan(0, len(self.times_s), NOBODY, 0.0, 0.0),)
        if voices == 1 and not self.others:
            return self.with_speakers((LARGEST,), spans, (f"{reason}; the largest face gets the voice",))
        faces, lines = largest_faces(self.free_people, voices, len(self.times_s))
        warning = f"{reason}; the largest face that no other speaker has gets the voice"
        return self.with_speakers(faces, spans, (warning, *(f"{self.remembered.name}: {line}" for line in lines)))

    def with_speakers(
        self, faces: tuple[FaceBoxes | FaceChoice, ...], spans: tuple[ActiveSpan, ...], warnings: tuple[str, ...]
    ) -> ActiveSpeakers:
        people = tuple(self.people)
        return ActiveSpeakers(
            faces, self.others, spans, people, self.times_s, self.shots, self.remembered, warnings, speaking=None
        )


def _look_through(
    triton: TritonCalls,
    finder: FindsFaces,
    video: VideoSource,
    others: Sequence[FaceChoice | FaceBoxes],
    measure: Scores | None,
    window_frames: int,
    progress: JobProgress,
    wanted: Callable[[SourceFrame], Sequence[bool]] | None,
) -> _Seen:
    progress.stage("finding who speaks", video.frame_estimate)
    tracker, links = PeopleTracker(), SpeakerLinks(others)
    recorder, remembered = PresenceRecorder(), RememberedFaces(video.path)
    times, durations, shots = [], [], []
    theirs: list[dict[int, np.ndarray]] = [{} for _ in others]
    windows = prefetch(finder.windows(video.frames(), window_frames), ahead=1)
    with closing(ordered_map(finder.find, windows, IN_FLIGHT, triton.cancel)) as searched:
        found = (item for window in searched for item in window)
        for item in found:
            remembered.add(item.faces, item.thumbnail)
            people = tracker.follow(item)
            linked = [face for face, _ in links.next(item, wanted and wanted(item.frame))]
            recorder.see(item.frame.index, people, linked)
            for boxes, face in zip(theirs, linked, strict=True):
                if face is not None:
                    boxes[item.frame.index] = face.box
            if measure is not None:
                measure.see(item.frame, people)
            times.append(item.frame.time_s)
            durations.append(float(item.frame.duration * video.time_base))
            shots.append(tracker.shot)
            progress.advance(1)
    remembered.finish()
    file_times = np.array(times)
    shown = file_times - file_times[0] + float(video.picture_delay * video.time_base)
    return _Seen(
        recorder.presences(tracker.current),
        file_times,
        np.array(durations),
        shown,
        np.array(shots, np.int32),
        remembered,
        tuple(map(FaceBoxes, theirs)),
    )


def _decided(
    seen: _Seen, measure: Scores, voiced: np.ndarray, voices: Sequence[Sequence[TimeSpan]], fps: float
) -> ActiveSpeakers:
    count = len(seen.times_s)
    evidence = {person.number: _evidence_for(person, seen, measure, fps) for person in seen.people}
    speaking = decide(evidence, voiced, seen.shots, fps)
    sure = confidences(evidence, speaking, seen.shots)
    free = seen.free_people
    in_view = {person.number: person.in_view(count) for person in free}
    ours = np.where(np.isin(speaking, list(in_view)), speaking, NOBODY)
    # where somebody else's person speaks, the voice has a face by the rule for silence
    held = hold(ours, voiced & ((ours != NOBODY) | (speaking == NOBODY)), in_view)
    if len(voices) == 1 and not held.any():
        return seen.undecided(1, f"{seen.remembered.name}: nobody in view was found to speak")
    faces, warnings = faces_of_voices(free, ours, held, seen.times_s, voices)
    spans = _spans(held if len(voices) == 1 else speaking, sure, voiced, seen.shots)
    warnings = tuple(f"{seen.remembered.name}: {line}" for line in warnings)
    return seen.with_speakers(faces, spans, warnings)


def _evidence_for(person: Presence, seen: _Seen, measure: Scores, fps: float) -> PersonEvidence:
    odds = [
        measure.evidence(person.numbers, np.arange(first, end), seen.middles_s[first:end], fps)
        for first, end in person.runs(seen.shots)
    ]
    return PersonEvidence(person.frames, np.concatenate(odds))


def _spans(speakers: np.ndarray, sure: np.ndarray, voiced: np.ndarray, shots: np.ndarray) -> tuple[ActiveSpan, ...]:
    edges = np.flatnonzero((np.diff(speakers) != 0) | (np.diff(shots) != 0)) + 1
    spans = []
    for part in np.split(np.arange(len(speakers)), edges):
        heard = voiced[part]
        confidence = float(sure[part][heard].mean()) if heard.any() else 0.0
        spans.append(
            ActiveSpan(int(part[0]), int(part[-1]) + 1, int(speakers[part[0]]), confidence, float(heard.mean()))
        )
    return tuple(spans)
