from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError, RequestRejected, ServerUnavailable
from client.media import AudioSource, VideoWriter
from client.pipelines.speech import SpeechFeatures
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from tests.closeness import assert_close
from tests.server.clips import SPEECH, empty_frame, head_frame, read_planes, swaying_head, write_video, write_wave
from tests.server.jobs import Run, job_runner

pytest.importorskip("diffusers", reason="no diffusers; run: make test")

pytestmark = [pytest.mark.server, pytest.mark.long]


@pytest.fixture
def run(latentsync_server: EmbeddedServer) -> Run:
    """Run one job of few steps with small LatentSync networks through the shared server."""
    usual = {"steps": 3, "lossless": True, "if_audio_longer": "cut"}
    return job_runner(latentsync_server, model="latentsync", in_silence="model", **usual)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames, so that a chunk of sixteen and a rest of four travel."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(20))


def test_the_seed_decides_all_noise(run: Run, clip: Path, tmp_path: Path) -> None:
    """The same seed gives the same frames, another seed others."""
    seeds = {"a": 1, "b": 1, "c": 2}
    for name, seed in seeds.items():
        run(clip, SPEECH, tmp_path / f"{name}.mkv", steps=3, seed=seed)
    a, b, c = (np.stack(read_planes(tmp_path / f"{name}.mkv")) for name in seeds)
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_frames_without_a_face_pass_through(run: Run, tmp_path: Path) -> None:
    """They stay as they are, and the job goes on."""
    clip = write_video(tmp_path / "late.mp4", [empty_frame()] * 8 + [head_frame()] * 8)
    report = run(clip, SPEECH, tmp_path / "out.mkv")
    assert (report.frames_without_face, report.frames_synced) == (8, 8)
    for before, after in zip(read_planes(clip)[:8], read_planes(tmp_path / "out.mkv")[:8], strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_job_may_ask_for_larger_faces(run: Run, clip: Path, tmp_path: Path) -> None:
    """Faces of 512 pixels give other frames than those of 256."""
    quick = {"speed": "preview", "steps": 1, "end": 0.08}
    for resolution in (256, 512):
        report = run(clip, SPEECH, tmp_path / f"{resolution}.mkv", resolution=resolution, **quick)
        assert report.frames_synced == 2
    small, large = (np.stack(read_planes(tmp_path / f"{resolution}.mkv")) for resolution in (256, 512))
    assert (small != large).any()


@pytest.mark.parametrize("speed", ["cached", "fast", "preview"])
def test_light_speeds_draw_too(run: Run, clip: Path, tmp_path: Path, speed: str) -> None:
    """Complete, and other frames than the exact ones."""
    for name in ("exact", speed):
        report = run(clip, SPEECH, tmp_path / f"{name}.mkv", speed=name, steps=5)
        assert report.frames_synced == 20
    exact, light = (np.stack(read_planes(tmp_path / f"{name}.mkv")) for name in ("exact", speed))
    assert (exact != light).any()


def test_features_of_long_speech_arrive_in_parts(latentsync_server: EmbeddedServer, tmp_path: Path) -> None:
    """Across the joints of 30 s, what is asked for piece by piece is what the whole speech gives."""
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 65).clip(-1, 1)
    audio = AudioSource(write_wave(tmp_path / "long.wav", samples))
    whole_samples = np.concatenate(list(audio.speech_blocks()))
    with TritonConnection(latentsync_server.url) as connection:
        whole = connection.infer(InferRequest("whisper_features", {"audio": whole_samples}))["audio_features"]
        features = SpeechFeatures(connection, audio)
        assert features.count == len(whole) == 3250
        for start in range(0, 3240, 97):
            found = features.between(start, start + 10)
            assert_close(found, whole[start : start + 10], rel=1e-4)  # float32 sums in another order


def test_interrupted_job_goes_on_by_itself(run: Run, clip: Path, tmp_path: Path) -> None:
    """Chunks are dear: without being told to, the next run takes the finished ones, and gives the same frames."""
    run(clip, SPEECH, tmp_path / "whole.mkv")

    class Lost(VideoWriter):
        def close(self, *_: object) -> None:
            raise ServerUnavailable("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.job.VideoWriter", Lost)
        with pytest.raises(ServerUnavailable):
            run(clip, SPEECH, tmp_path / "broken.mkv")
    report = run(clip, SPEECH, tmp_path / "broken.mkv")
    assert report.requests_reused == report.requests
    assert (tmp_path / "broken.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mkv", "whole.mkv"]


def test_speech_without_a_feature_fails(run: Run, clip: Path, tmp_path: Path) -> None:
    """Under 0.02 s there is nothing to encode."""
    with pytest.raises(MediaError, match="expected speech of at least 0.02 s"):
        run(clip, write_wave(tmp_path / "short.wav", np.zeros(100)), tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_seed_out_of_range_fails_on_the_server_too(latentsync_server: EmbeddedServer) -> None:
    """A client that does not check is told by the server."""
    inputs = {"frames": np.zeros((1, 64, 64, 3), np.uint8), "seed": np.array([-1], np.int64)}
    with (
        TritonConnection(latentsync_server.url) as connection,
        pytest.raises(RequestRejected, match="seed: expected"),
    ):
        connection.infer(InferRequest("latentsync", inputs))


def test_interrupted_job_gives_its_requests_up(
    latentsync_server: EmbeddedServer, run: Run, clip: Path, lipsync_command: list[str], tmp_path: Path
) -> None:
    """Ctrl-C ends a job on a running server at once, though its chunks would take minutes, and frees the server.

    What is finished is kept.
    """
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(tmp_path / "out.mp4")]
    options = ["--model", "latentsync", "--steps", "999", "--url", latentsync_server.url, "--if-audio-longer", "cut"]
    with subprocess.Popen([*lipsync_command, *files, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "lip-syncing" in line:
                break
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGINT
    assert [path.name for path in tmp_path.iterdir()] == [".out.mp4.work"]
    started = time.monotonic()
    run(clip, SPEECH, tmp_path / "next.mkv")
    assert time.monotonic() - started < 60  # many times what it takes; the chunks given up would take minutes
    with TritonConnection(latentsync_server.url, "shm") as connection:
        regions = connection._client.get_system_shared_memory_status().regions
        assert all(f"-{os.getpid()}-" in name for name in regions)
