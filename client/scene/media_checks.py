"""Checks a scene against the video and the voices' files, once they are open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from client.errors import UsageError
from client.job_options import JobOptions
from client.media import VideoSource
from client.scene.documents import seconds, shown
from client.scene.options import SYNC_ONLY
from client.scene.scene import FaceOfSpeaker, Scene, Speaker, TimeSpan
from client.sound.options import AUDIO_OFFSET
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice, show_face_choice


def check_job(options: JobOptions, video: VideoSource, sound_s: float) -> None:
    """Check the places and times that a job names, in a script or by option, against its media.

    Args:
        options: the job.
        video: its video, or the span of it that is used.
        sound_s: when the last voice ends, in seconds.

    Raises:
        UsageError: they lie outside.
    """
    frames = 0 if video.is_still else video.frame_estimate
    video_s = math.inf if not frames else float(frames / video.rate)
    end_s = math.inf if frames is None else max(sound_s, float(frames / video.rate))
    if options.script is not None:
        check_against(options.script, video.width, video.height, end_s, frames or None)
    sync_only = options.values[SYNC_ONLY]
    check_spans(sync_only or (), end_s, SYNC_ONLY.name)
    _check_voices_begin(options.scene, options.values[AUDIO_OFFSET], video_s)


def check_against(scene: Scene, width: int, height: int, duration_s: float, frames: int | None = None) -> None:
    """Check that all places lie in the picture, and all times in the video or its voices.

    Spans and boxes that go on after the end are cut, without a word.

    Args:
        scene: the script's scene.
        width: width of the upright picture, in pixels.
        height: its height.
        duration_s: until when anything is seen or heard: the longer of video and voices, in seconds.
        frames: how many frames the video has; None if that is not known.

    Raises:
        UsageError: something lies outside; the speaker and the place are named.
    """
    for speaker in scene.speakers:
        _check_times(speaker, duration_s)
        for place, face in _faces(speaker):
            _check_face(face, f"{_name(speaker)}, {place}", (width, height), frames)
    for i, span in enumerate(scene.unchanged):
        _check_start(span.start_s, duration_s, f"unchanged[{i}]")


def check_spans(spans: Sequence[TimeSpan], duration_s: float, option: str) -> None:
    """Check that spans that an option names begin before the end, in seconds.

    Raises:
        UsageError: one does not.
    """
    for span in spans:
        if span.start_s >= duration_s:
            expected = f"times before the end ({seconds(round(duration_s, 3))})"
            raise UsageError(option=option, expected=expected, got=seconds(span.start_s))


def _check_voices_begin(scene: Scene, shift_s: float, video_s: float) -> None:
    """Check that the first voice begins while the video lasts; others may follow where the video is repeated."""
    first = min(scene.speakers, key=lambda speaker: speaker.voice.offset_s)
    starts_s = first.voice.offset_s + shift_s
    if starts_s >= video_s:
        expected = f"a voice that begins before the video's end ({seconds(round(video_s, 3))})"
        got = f"one at {seconds(starts_s)}"
        if shift_s > 0:
            raise UsageError(option=AUDIO_OFFSET.name, expected=expected, got=got)
        raise UsageError(about=f"{_name(first)}, voice.offset", expected=expected, got=got)


def _check_times(speaker: Speaker, duration_s: float) -> None:
    for i, segment in enumerate(speaker.segments):
        _check_start(segment.span.start_s, duration_s, f"{_name(speaker)}, segments[{i}].start")
    _check_start(speaker.voice.offset_s, duration_s, f"{_name(speaker)}, voice.offset")


def _check_start(start_s: float, duration_s: float, about: str) -> None:
    if start_s >= duration_s:
        expected = f"a time before the end ({seconds(duration_s)})"
        raise UsageError(about=about, expected=expected, got=seconds(start_s))


def _faces(speaker: Speaker) -> Iterator[tuple[str, FaceOfSpeaker]]:
    yield "face", speaker.face
    for i, segment in enumerate(speaker.segments):
        yield f"segments[{i}].face", segment.face


def _check_face(face: FaceOfSpeaker, about: str, size: tuple[int, int], frames: int | None) -> None:
    if isinstance(face, FaceBoxes):
        if frames is not None and min(face.boxes) >= frames:
            expected, got = f"boxes in the {frames} frames of the video", f"the first one in frame {min(face.boxes)}"
            raise UsageError(about=about, expected=expected, got=got)
        for frame, box in face.boxes.items():
            x1, y1, x2, y2 = map(float, box)
            _check_box((x1, y1, x2, y2), f"{about} in frame {frame}", size)
    elif isinstance(face, FaceChoice) and face.rule == "box":
        _check_box(face.box, about, size)
    elif isinstance(face, FaceChoice) and face.rule == "point":
        (x, y), (width, height) = face.point, size
        if not (0 <= x < width and 0 <= y < height):
            expected = f"a point in the picture ({width} x {height} pixels)"
            raise UsageError(about=about, expected=expected, got=show_face_choice(face))


def _check_box(box: tuple[float, float, float, float], about: str, size: tuple[int, int]) -> None:
    (x1, y1, x2, y2), (width, height) = box, size
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        expected = f"a box in the picture ({width} x {height} pixels), corners x1, y1, x2, y2"
        raise UsageError(about=about, expected=expected, got=shown([round(float(edge), 3) for edge in box]))


def _name(speaker: Speaker) -> str:
    return f"speaker {speaker.name}"
