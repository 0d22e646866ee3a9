"""Jobs on prepared clips through a real server: the same frames, with fewer models asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from client.job import Job
from client.media import AudioSource
from client.prepared.options import prepared_job, read_preparation
from client.prepared.preparation import Preparation
from client.progress import SilentProgress
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from tests.media_clips import write_sound
from tests.server.clips import SPEECH, empty_frame, head_frame, read_frames, swaying_head, write_video
from tests.server.jobs import job_runner

pytestmark = pytest.mark.server
ALIKE_DB = 40.0
SMOOTHED = 2  # frames on each side with which landmarks are smoothed
LOSSLESS = {"lossless": True, "in_silence": "model", "resume": False, "check": "off"}  # which asks for faces itself


class CountingConnection(TritonConnection):
    """Counts requests by model."""

    asked: ClassVar[Counter[str]] = Counter()

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        self.asked[request.model] += 1
        return super().infer(request)


@pytest.fixture(autouse=True)
def asked() -> Counter[str]:
    CountingConnection.asked.clear()
    return CountingConnection.asked


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Speech of 0.6 s."""
    with AudioSource(SPEECH) as audio:
        return write_sound(tmp_path / "speech.wav", audio.window(8_000, 18_000))


def prepare(server: EmbeddedServer, video: Path, folder: Path, **given: object) -> Path:
    options = read_preparation(video, folder, given)
    with TritonConnection(server.url) as connection, Preparation(options, {}) as preparation:
        preparation.run(connection, SilentProgress())
    return folder


def run_on(server: EmbeddedServer, folder: Path, speech: Path, output: Path, **given: object) -> None:
    options = prepared_job(folder, speech, output, {**LOSSLESS, **given})
    with Job(options) as job, CountingConnection(server.url) as connection:
        job.run(connection)


def assert_same_frames(a: Path, b: Path, until: int | None = None) -> None:
    """Those before `until` are equal; the others, shown again or smoothed with such, nearly so."""
    frames, others = read_frames(a), read_frames(b)
    assert len(frames) == len(others)
    assert all(np.array_equal(*pair) for pair in list(zip(frames, others, strict=True))[:until])
    assert all(cv2.PSNR(*pair) > ALIKE_DB for pair in zip(frames, others, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("area", ["jaw", "mouth"])
def test_musetalk_on_a_prepared_clip_gives_the_same_frames(
    musetalk_server: EmbeddedServer, asked: Counter[str], speech: Path, tmp_path: Path, area: str
) -> None:
    """Also where the clip turns back and has a faceless gap; neither faces are found nor the VAE's encoder asked."""
    clip = write_video(tmp_path / "in.mp4", [*swaying_head(5), *[empty_frame()] * 6, *swaying_head(2)])
    cold = job_runner(musetalk_server, model="musetalk", **LOSSLESS)
    cold(clip, speech, tmp_path / "cold.mkv", mouth_area=area)
    folder = prepare(musetalk_server, clip, tmp_path / "clip.prepared", model="musetalk", mouth_area=area)
    run_on(musetalk_server, folder, speech, tmp_path / "warm.mkv")
    assert_same_frames(tmp_path / "cold.mkv", tmp_path / "warm.mkv", until=13 - SMOOTHED)
    assert "faces" not in asked
    assert asked["musetalk_prepared"] >= 1


@pytest.mark.long
def test_musetalk_analyses_a_photograph_once(
    musetalk_server: EmbeddedServer, asked: Counter[str], speech: Path, tmp_path: Path
) -> None:
    """It is shown in every frame; prepared, it is not analysed at all."""
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), head_frame()[..., ::-1])
    run = job_runner(musetalk_server, CountingConnection, model="musetalk", mouth_area="mouth", **LOSSLESS)
    report = run(photo, speech, tmp_path / "cold.mkv")
    assert report.frames_synced == report.frames > 8
    assert asked["musetalk_prepare"] == 1
    assert "musetalk" not in asked
    folder = prepare(musetalk_server, photo, tmp_path / "photo.prepared", model="musetalk", mouth_area="mouth")
    asked.clear()
    run_on(musetalk_server, folder, speech, tmp_path / "warm.mkv")
    assert_same_frames(tmp_path / "cold.mkv", tmp_path / "warm.mkv")
    assert "musetalk_prepare" not in asked


def test_mouth_motion_on_a_prepared_clip_gives_the_same_frames(
    server: EmbeddedServer, asked: Counter[str], speech: Path, tmp_path: Path
) -> None:
    """Its faces and its speaker's mouth are known. Frames that are shown again are searched with other key frames."""
    clip = write_video(tmp_path / "in.mp4", swaying_head(12))
    job_runner(server, **LOSSLESS)(clip, speech, tmp_path / "cold.mkv")
    run_on(server, prepare(server, clip, tmp_path / "clip.prepared"), speech, tmp_path / "warm.mkv")
    assert_same_frames(tmp_path / "cold.mkv", tmp_path / "warm.mkv", until=12 - SMOOTHED)
    assert "faces" not in asked
