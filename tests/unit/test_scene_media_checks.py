from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from client.job import Job
from client.job_options import JobOptions
from client.scene.media_checks import check_against
from client.scene.scene import FaceOfSpeaker, Scene, Segment, Speaker, TimeSpan, Voice
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice
from tests.scene_sounds import noise, video_with, voice_of

SIZE = 640, 480
VOICE = Voice(Path("/film/ann.wav"))
FRAMES = 250


def ann(face: FaceOfSpeaker = None, *segments: Segment, voice: Voice = VOICE) -> Scene:
    return Scene((Speaker("ann", voice, face, segments),))


def boxes(*corners: float) -> FaceBoxes:
    return FaceBoxes({7: np.array(corners, np.float32)})


@pytest.mark.parametrize(
    "scene",
    [
        ann(FaceChoice("point", point=(639, 479))),
        ann(FaceChoice("box", box=(-10, -10, 5, 5))),
        ann(boxes(630, 400, 700, 500)),
        ann(None, Segment(TimeSpan(9.9, 99)), Segment(TimeSpan(9.95))),
        ann(FaceBoxes({249: np.array([1, 2, 3, 4], np.float32), 300: np.array([1, 2, 3, 4], np.float32)})),
        Scene(ann().speakers, (TimeSpan(9), TimeSpan(9.5, 20))),
    ],
)
def test_what_reaches_into_the_video_is_taken(scene: Scene) -> None:
    """Faces at the edge, and spans that end after the video."""
    check_against(scene, *SIZE, 10.0, FRAMES)


@pytest.mark.parametrize(
    ("scene", "line"),
    [
        (
            ann(FaceChoice("point", point=(640, 5))),
            "speaker ann, face: expected a point in the picture (640 x 480 pixels), got 640,5",
        ),
        (
            ann(None, Segment(TimeSpan(0, 1), FaceChoice("box", box=(5, 480, 9, 500)))),
            "speaker ann, segments[0].face: expected a box in the picture (640 x 480 pixels), corners x1, y1, x2, y2,",
        ),
        (
            ann(FaceBoxes({250: np.array([1, 2, 3, 4], np.float32), 260: np.array([1, 2, 3, 4], np.float32)})),
            "speaker ann, face: expected boxes in the 250 frames of the video, got the first one in frame 250",
        ),
        (ann(boxes(-9, 5, 0, 9)), "speaker ann, face in frame 7: expected a box in the picture (640 x 480 pixels)"),
        (
            ann(None, Segment(TimeSpan(0, 1)), Segment(TimeSpan(10, 11))),
            "speaker ann, segments[1].start: expected a time before the end (10 s), got 10 s",
        ),
        (
            ann(voice=Voice(VOICE.path, offset_s=12)),
            "speaker ann, voice.offset: expected a time before the end (10 s), got 12",
        ),
        (Scene(ann().speakers, (TimeSpan(10, 12),)), "unchanged[0]: expected a time before the end (10 s), got 10 s"),
    ],
)
def test_what_lies_outside_fails_in_one_line(scene: Scene, line: str) -> None:
    """Of the picture or of the video."""
    with pytest.raises(UsageError) as caught:
        check_against(scene, *SIZE, 10.0, FRAMES)
    assert line in str(caught.value)


def test_a_voice_begins_while_the_video_lasts(tmp_path: Path) -> None:
    """Else the video would be repeated in silence until then; a voice that follows another may begin later."""
    video, voice = video_with(None, tmp_path / "video.mp4", frames=50), voice_of(tmp_path, "ann", noise(1, 1))
    late = {"audio_offset": 50}
    with pytest.raises(UsageError, match=r"before the video's end \(2 s\), got one at 50 s") as caught:
        Job(JobOptions.read(video, voice.path, tmp_path / "out.mp4", late))
    assert caught.value.options == ("audio_offset",)
    alone, second = ann(voice=Voice(voice.path, offset_s=2)), Speaker("bob", voice)
    with pytest.raises(UsageError, match=r"speaker ann, voice.offset: .*, got one at 2 s"):
        Job(job_of_scene(video, tmp_path / "out.mp4", alone))
    with Job(job_of_scene(video, tmp_path / "out.mp4", Scene((*alone.speakers, second)))):
        pass


def job_of_scene(video: Path, output: Path, scene: Scene) -> JobOptions:
    return JobOptions(video, None, output, script=scene)
