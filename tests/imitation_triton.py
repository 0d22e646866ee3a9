"""Imitates a server for whole jobs without one: it paints what it is sent. Run as a program, it is the command line.

`python -m tests.imitation_triton --video ...` is `lipsync --video ...` with such a server.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np

from client.lipsync import main
from client.servers.calls import InferRequest
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from tests.conftest import REPOSITORY

PAINT = 200  # of every sample that was changed
# A job that needs no other answers: its face is known, and its mouths are drawn in silence too.
OPTIONS = ("--model", "wav2lip", "--face-box", "8,8,40,40", "--in-silence", "model")


class PaintingTriton:
    """Answers each request for synced frames with frames of one colour."""

    transport, server_count = "grpc", 1

    def __init__(self) -> None:
        """Count the requests."""
        self.used = False  # whether a job has asked for a server
        self.requests: Counter[str] = Counter()  # by model

    def contract(self, model: str) -> ModelContract:
        """Return the model's contract in the repository."""
        return read_contract(REPOSITORY / model)

    def serves(self, model: str) -> bool:
        """Have everything."""
        return True

    def identity(self, model: str) -> str:
        """Return a version."""
        return model

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Paint the frames."""
        self.requests[request.model] += 1
        frames = request.inputs["frames"]
        return {
            "synced_frames": np.full_like(frames, PAINT),
            "strengths": np.ones(len(frames), np.float32),
            "reasons": np.zeros(len(frames), np.int32),
        }

    def cancel(self) -> None:
        """Do nothing, as no request waits."""


@contextmanager
def imitated_server(triton: PaintingTriton | None = None) -> Iterator[PaintingTriton]:
    """Have jobs use an imitation in place of the server that they would start."""
    triton = triton or PaintingTriton()

    @contextmanager
    def open_pool(*_: object) -> Iterator[tuple[PaintingTriton, float]]:
        triton.used = True
        yield triton, 0.0

    with mock.patch("client.run.open_pool", open_pool):
        yield triton


if __name__ == "__main__":
    with imitated_server():
        sys.exit(main())
