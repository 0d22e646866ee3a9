from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from client.errors import RequestRejected
from client.job import Job
from client.job_options import JobOptions
from client.servers.calls import InferRequest
from tests.media_clips import tone, write_clip, write_sound


class HalfFrozen:
    """Refuses its first request and does not answer the others before they are given up."""

    transport = "grpc"
    server_count = 1

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.waiting, self.cancelled = threading.Event(), threading.Event()

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        if next(self.numbers) == 0:
            self.waiting.wait(20)
            raise RequestRejected(f"{request.model}: no")
        self.waiting.set()
        self.cancelled.wait(5)
        raise RequestRejected(f"{request.model}: cancelled")

    def cancel(self) -> None:
        self.cancelled.set()


def test_failed_look_at_the_clip_gives_up_its_other_requests(tmp_path: Path) -> None:
    """A job that ends before its first frame does not wait for a frozen server either."""
    video = write_clip(tmp_path / "clip.mkv", codec="ffv1", frames=40)
    audio = write_sound(tmp_path / "speech.wav", tone(1.0))
    triton = HalfFrozen()
    with Job(JobOptions(video, audio, tmp_path / "out.mp4")) as job, pytest.raises(RequestRejected):
        job.run(triton)  # type: ignore[arg-type]
    assert triton.cancelled.is_set()
