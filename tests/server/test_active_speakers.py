from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.active.speakers import ActiveSpeakers, find_active_speakers
from client.media import AudioSource, VideoSource, timeline
from client.progress import SilentProgress
from client.report import StageClock
from client.scene.scene import TimeSpan
from client.servers.connection import TritonConnection
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, FaceChoice
from client.tracking.finder import FaceFinder
from lipsync_core.serving.server import EmbeddedServer
from perf.speakers.clips import Clip, read_clip
from perf.speakers.judging import judge
from perf.speakers.scenes import BESIDE, REVERSE, Scene, compose, write_scene
from tests.server.clips import SPEECH, swaying_head, write_film, write_video
from tests.sounds import music

pytestmark = pytest.mark.server

WHOLE = [TimeSpan(0.0)]
LEAST_RIGHT = 0.85  # of frames, in scenes of both people side by side


@pytest.fixture(scope="module")
def people(media_dir: Path) -> list[list[Clip]]:
    """Two clips each of two speakers whom nothing was tuned on."""
    if not (media_dir / "grid").is_dir():
        pytest.skip(f"no grid/ in {media_dir}")
    return [
        [read_clip(path) for path in sorted((media_dir / "grid" / name).glob("*.mpg"))[:2]] for name in ("s26", "s30")
    ]


@pytest.fixture(scope="module")
def beside(people: list[list[Clip]]) -> Scene:
    """Three turns of two people side by side, one of whom listens."""
    return compose(BESIDE, people, 3, np.random.default_rng(1))


def analyse(
    server: EmbeddedServer,
    video: VideoSource,
    voices: list[list[TimeSpan]],
    *others: FaceChoice | FaceBoxes,
) -> ActiveSpeakers:
    with TritonConnection(server.url) as triton:
        finder = FaceFinder(triton, StageClock())
        return find_active_speakers(triton, finder, video, voices, others, window_frames=16, progress=SilentProgress())


def test_speakers_side_by_side_are_told_apart(server: EmbeddedServer, tmp_path: Path, beside: Scene) -> None:
    """The voice goes to whoever speaks, two people are found, and the remembered faces are those found again."""
    video = VideoSource(write_scene(beside, tmp_path / "scene.mkv"))
    active = analyse(server, video, [WHOLE])
    shown = list(timeline(video, 0.0, "cut", "keep"))
    judged = judge(beside, active, shown, video.width)
    assert judged.right >= LEAST_RIGHT
    assert judged.identity == 1
    assert not active.warnings
    with TritonConnection(server.url) as triton:
        again = FaceFinder(triton, StageClock()).find(shown[:16])
    for ours, theirs in zip(active.remembered.find(shown[:16]), again, strict=True):
        np.testing.assert_array_equal(ours.thumbnail, theirs.thumbnail)
        for mine, other in zip(ours.faces, theirs.faces, strict=True):
            assert mine.score == other.score
            np.testing.assert_array_equal(mine.box, other.box)
            assert mine.landmarks is not None
            assert other.landmarks is not None
            np.testing.assert_array_equal(mine.landmarks, other.landmarks)


@pytest.mark.long
def test_speakers_with_voices_of_their_own_have_one_person_each(
    server: EmbeddedServer, tmp_path: Path, beside: Scene
) -> None:
    """Two voices go to those who speak at the same times; a face that another speaker has is not taken."""
    video = VideoSource(write_scene(beside, tmp_path / "scene.mkv"))
    truth = np.array(beside.truth)
    first, second = ([TimeSpan(i / 25, (i + 1) / 25) for i in np.flatnonzero(truth == who)] for who in (1, 2))
    right, left = analyse(server, video, [second, first]).faces
    assert isinstance(left, FaceBoxes)
    assert isinstance(right, FaceBoxes)
    assert left.boxes[100][0] < video.width / 2 < right.boxes[100][0]
    (only,) = analyse(server, video, [WHOLE], FaceChoice("left")).faces
    assert isinstance(only, FaceBoxes)
    assert all(box[0] > video.width / 2 for box in only.boxes.values())


@pytest.mark.long
def test_speakers_in_reverse_shots_are_synced_only_while_they_speak(
    server: EmbeddedServer, tmp_path: Path, people: list[list[Clip]]
) -> None:
    """A listener who is alone in view while somebody else is heard has no voice."""
    scene = compose(REVERSE, people, 4, np.random.default_rng(2))
    video = VideoSource(write_scene(scene, tmp_path / "scene.mkv"))
    judged = judge(scene, analyse(server, video, [WHOLE]), list(timeline(video, 0.0, "cut", "keep")), video.width)
    assert judged.right >= LEAST_RIGHT
    assert judged.right > judged.largest


@pytest.mark.parametrize("sound", ["none", "music", "narrator"])
def test_speakers_without_usable_sound_are_the_largest_face(server: EmbeddedServer, tmp_path: Path, sound: str) -> None:
    """Without sound, without speech in it, or where nobody in view speaks, the largest face gets the voice."""
    frames = swaying_head(30)
    path = tmp_path / "film.mkv"
    if sound == "none":
        write_video(path, frames)
    else:
        with AudioSource(SPEECH) as speech:
            heard = music(1.2, -20).clip(-1, 1) if sound == "music" else speech.window(0, 19_200)
        write_film(path, frames, heard)
    active = analyse(server, VideoSource(path), [WHOLE])
    assert active.faces == (LARGEST,)
    (warning,) = active.warnings
    assert warning.endswith("the largest face gets the voice")
    assert len(active.remembered.find(list(timeline(VideoSource(path), 0.0, "cut", "keep")))) == 30


def test_speaker_without_usable_sound_never_takes_the_face_of_another(server: EmbeddedServer, tmp_path: Path) -> None:
    """The only face is that of the speaker to whom the script gives it; the other one has none, and is told so."""
    path = tmp_path / "film.mkv"
    write_video(path, swaying_head(30))
    active = analyse(server, VideoSource(path), [WHOLE], FaceChoice("left"))
    (face,) = active.faces
    assert isinstance(face, FaceBoxes)
    assert not face.boxes
    assert "has no face" in active.warnings[-1]
