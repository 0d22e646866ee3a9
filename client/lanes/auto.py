"""Gives lanes whose face is auto the faces of those who speak in the video, found in a pass over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from client.active.speakers import ActiveSpeakers, find_active_speakers
from client.active.speaking import Speaking
from client.active.voices import spans_of_voice
from client.lanes.lane import LanePlan, LinkKey, times_of
from client.media import AudioSource, SourceFrame, VideoSource
from client.progress import JobProgress
from client.scene.scene import Scene, TimeSpan
from client.servers.calls import TritonCalls
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice
from client.tracking.finder import FindsFaces


@dataclass(frozen=True)
class FoundLanes:
    """Lanes, and where their faces are in the video.

    Attributes:
        plans: the lanes, all with a known face; one for each person where a voice goes to whoever speaks.
        given: the lanes as they were given, each with where its face was found.
        active: who speaks when, and the faces that were found.
    """

    plans: list[LanePlan]
    given: list[tuple[LanePlan, FaceChoice | FaceBoxes]]
    active: ActiveSpeakers


def is_auto(plan: LanePlan) -> bool:
    """Return whether a lane's face is to be found by who speaks."""
    return isinstance(plan.face, FaceChoice) and plan.face.rule == "auto"


def find_auto_faces(
    triton: TritonCalls,
    finder: FindsFaces,
    video: VideoSource,
    scene: Scene,
    plans: Sequence[LanePlan],
    voices: Sequence[AudioSource],
    *,
    window_frames: int,
    progress: JobProgress,
    speaking: Speaking = "lips",
) -> FoundLanes:
    """Look through a video, and find the faces of all lanes.

    Args:
        triton: the server or servers.
        finder: finds the faces, small ones too.
        video: the video, or the span of it that is used.
        scene: who speaks when.
        plans: the lanes.
        voices: the voice of each speaker.
        window_frames: frames per request.
        progress: is told the stage and the frames.
        speaking: what tells who speaks.

    Raises:
        LipSyncError: the video cannot be decoded, or the server fails.
    """
    speakers = list(dict.fromkeys(plan.speaker for plan in plans if is_auto(plan)))
    others = list(dict.fromkeys(plan.link for plan in plans if not is_auto(plan)))
    active = find_active_speakers(
        triton,
        finder,
        video,
        [_spans_of(position, scene, triton, voices) for position in speakers],
        [face for _, face in others],
        window_frames=window_frames,
        progress=progress,
        wanted=wanted_links(scene, plans, others, video),
        speaking=speaking,
    )
    autos = dict(zip(speakers, active.faces, strict=True))
    boxes = dict(zip(others, active.others, strict=True))
    given = [(plan, autos[plan.speaker] if is_auto(plan) else boxes[plan.link]) for plan in plans]
    return FoundLanes([lane for plan in plans for lane in _with_faces(plan, autos, active)], given, active)


def wanted_links(
    scene: Scene, plans: Sequence[LanePlan], links: Sequence[LinkKey], video: VideoSource
) -> Callable[[SourceFrame], list[bool]] | None:
    """Return what tells which people a frame of the source is to show, as far as its own times go; None for all."""
    times = [(plan.link, times_of(plan, scene, plans)) for plan in plans]
    if all(own.are_always for _, own in times):
        return None
    by_link = [[own for link, own in times if link == wanted] for wanted in links]
    middle_s = float(1 / video.rate) / 2 - video.start
    return lambda frame: [any(own.hold(frame.time_s + middle_s) for own in spans) for spans in by_link]


def _spans_of(position: int, scene: Scene, triton: TritonCalls, voices: Sequence[AudioSource]) -> tuple[TimeSpan, ...]:
    """Return when a speaker speaks."""
    segments = scene.speakers[position].segments
    if segments:
        return tuple(segment.span for segment in segments)
    voice = voices[position]
    return spans_of_voice(triton, voice, voice.duration)


def _with_faces(plan: LanePlan, autos: Mapping[int, FaceChoice | FaceBoxes], active: ActiveSpeakers) -> list[LanePlan]:
    """Return a lane with its face; a single auto speaker has that of each person who speaks in the video."""
    if not is_auto(plan):
        return [plan]
    face = autos[plan.speaker]
    several = active.faces_by_person() if len(autos) == 1 and isinstance(face, FaceBoxes) else []
    return [replace(plan, face=own) for own in several or [face]]
