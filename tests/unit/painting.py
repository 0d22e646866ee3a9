"""Generators and a server that paint faces in one colour, so that tests see who drew where."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from client.media import TimelineFrame
from client.pipeline import LipRequest, Observations
from client.servers.calls import InferRequest
from client.tracking.faces import Face

FRAMES, RATE = 40, 25
NETWORK, CLOSED = "network", "closed"
COLOURS = {NETWORK: 250, CLOSED: 10}


class PaintingTriton:
    """Paints each model's colour over all that it is sent."""

    transport, server_count = "grpc", 1

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()  # frames by model
        self._lock = threading.Lock()

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        frames = request.inputs["frames"]
        with self._lock:
            self.sent[request.model] += len(frames)
        painted = np.full_like(frames, COLOURS[request.model])
        return {
            "synced_frames": painted,
            "strengths": np.ones(len(frames), np.float32),
            "reasons": np.zeros(len(frames), np.int32),
        }

    def cancel(self) -> None:
        """Nothing waits."""


@dataclass
class Painter:
    """A generator without inputs."""

    model: str
    chunk_frames: int | None = None
    asked: list[int] = field(default_factory=list)

    def smooth(self, observations: Observations) -> Observations:
        return observations

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        assert len(frames) == len(faces) == len(tracks)
        self.asked += [frame.index for frame in frames]
        boxes = np.stack([face.box for face in faces])
        (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        return LipRequest((x1, y1, x2, y2), {}, {})
