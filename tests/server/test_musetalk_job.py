from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from client.chunks import IN_FLIGHT
from client.errors import UsageError
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, empty_frame, read_frames, read_planes, swaying_head, write_video
from tests.server.jobs import Run, job_runner
from tests.server.test_speakers_pipelines import check_scene, row
from tests.waiting import wait_until

pytest.importorskip("torch", reason="no torch; run: make test")

__all__ = ["row"]  # a fixture
pytestmark = pytest.mark.server

BOX = (70.0, 50.0, 180.0, 190.0)  # about the head of head_frame()


@pytest.fixture
def run(musetalk_server: EmbeddedServer) -> Run:
    """Run one job with MuseTalk through the shared server."""
    return job_runner(musetalk_server, model="musetalk", in_silence="model", lossless=True, if_audio_longer="cut")


def changed_frames(clip: Path, output: Path) -> np.ndarray:
    """Return which samples of each frame differ, bool [F, H, W]; the brightness alone."""
    return np.array([a[:256] != b[:256] for a, b in zip(read_planes(clip), read_planes(output), strict=True)])


@pytest.mark.long
def test_musetalk_job_changes_the_lower_face_and_keeps_faceless_frames(run: Run, tmp_path: Path) -> None:
    """Nothing above the bridge of the nose changes, and a gap that is too long to bridge stays as it is."""
    head = swaying_head(2)
    clip = write_video(tmp_path / "in.mp4", [*head, *[empty_frame()] * 7, *head])
    report = run(clip, SPEECH, tmp_path / "out.mkv")
    assert (report.frames, report.frames_synced) == (11, 4)
    changed = changed_frames(clip, tmp_path / "out.mkv")
    assert [bool(frame.any()) for frame in changed] == [True] * 2 + [False] * 7 + [True] * 2
    rows, columns = np.nonzero(changed.any(axis=0))
    assert rows.min() > 256 * 0.33  # the eyes are at 0.3 of the picture's height
    assert columns.min() > 256 * 0.2
    assert columns.max() < 256 * 0.8


@pytest.mark.long
def test_musetalk_job_is_the_same_every_time(run: Run, tmp_path: Path) -> None:
    """The noise is of the seed: two runs agree to the last bit, and another seed changes pixels."""
    clip = write_video(tmp_path / "in.mp4", swaying_head(2))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(clip, SPEECH, tmp_path / f"{name}.mkv", seed=seed, mouth_area="mouth")
    first, again, other = (np.stack(read_frames(tmp_path / f"{name}.mkv")) for name in "abc")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.long
def test_musetalk_job_takes_a_given_box(run: Run, tmp_path: Path) -> None:
    """No face is searched for, and the box is the face in every frame."""
    clip = write_video(tmp_path / "in.mp4", swaying_head(2))
    assert run(clip, SPEECH, tmp_path / "out.mkv", face_box=BOX, musetalk_mode="original").frames_synced == 2
    rows = np.nonzero(changed_frames(clip, tmp_path / "out.mkv").any(axis=(0, 2)))[0]
    assert rows.min() >= (BOX[1] + BOX[3]) / 2 - 16
    assert rows.max() <= BOX[3] + 16


@pytest.mark.long
def test_musetalk_job_of_60_frames_per_second_works(run: Run, tmp_path: Path) -> None:
    """The original ends there without a result, and its mode says so before any frame is decoded."""
    clip = write_video(tmp_path / "in.mp4", swaying_head(3), rate=60)
    assert run(clip, SPEECH, tmp_path / "out.mkv", mouth_area="mouth").frames_synced == 3
    with pytest.raises(UsageError, match="musetalk_mode: expected default at 50 frames per second and above"):
        run(clip, SPEECH, tmp_path / "out.mkv", musetalk_mode="original")


@pytest.mark.long
def test_musetalk_starts_no_chunk_after_an_interruption(
    musetalk_server: EmbeddedServer, lipsync_command: list[str], tmp_path: Path
) -> None:
    """Ctrl-C ends the job; the chunks in flight may end on the server, as ensembles pass no cancellation on."""
    clip = write_video(tmp_path / "in.mp4", swaying_head(100))
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(tmp_path / "out.mp4")]
    options = ["--model", "musetalk", "--mouth-area", "mouth", "--in-silence", "model", "--url", musetalk_server.url]
    before = unet_frames(musetalk_server)
    with subprocess.Popen([*lipsync_command, *files, *options], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: unet_frames(musetalk_server) > before)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 128 + signal.SIGINT
    ended = unet_frames(musetalk_server)
    time.sleep(2)  # in which a chunk would end
    after = unet_frames(musetalk_server)
    assert after - ended <= 8 * IN_FLIGHT
    assert after - before <= 50
    time.sleep(1)
    assert unet_frames(musetalk_server) == after


def unet_frames(server: EmbeddedServer) -> int:
    """Return how many frames the UNet has generated."""
    with InferenceServerClient(server.url) as client:
        (model,) = client.get_inference_statistics("musetalk_unet").model_stats
        return int(model.inference_count)


@pytest.mark.long
def test_speakers_of_musetalk(musetalk_server: EmbeddedServer, row: Path, tmp_path: Path) -> None:
    """MuseTalk draws both."""
    check_scene(musetalk_server, row, tmp_path, {"model": "musetalk", "mouth_area": "mouth"})
