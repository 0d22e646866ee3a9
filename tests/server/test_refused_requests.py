from __future__ import annotations

import numpy as np
import pytest

from client.errors import RequestRejected
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection

pytestmark = pytest.mark.server

MANY = 100  # with two steps of the ensemble at once, one refusal in 10 to 400 ended or locked up the server


def test_refusals_never_end_or_lock_up_the_server(connection: TritonConnection) -> None:
    """After many requests that a step refuses at once, the next good one is answered."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    landmarks = np.full((2, 468, 3), np.nan, np.float32)
    for _ in range(MANY):
        with pytest.raises(RequestRejected, match="expected shapes, or audio with frame_times, got neither"):
            connection.infer(InferRequest("mouth_motion", {"frames": frames, "landmarks": landmarks}))
    good = {"frames": frames, "landmarks": landmarks, "shapes": np.zeros((2, 7), np.float32)}
    np.testing.assert_array_equal(connection.infer(InferRequest("mouth_motion", good))["synced_frames"], frames)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"shapes": np.zeros((3, 7), np.float32)}, "shapes: expected one row for each of 2 frames, got 3"),
        (
            {"audio": np.zeros(16_000, np.float32), "frame_times": np.zeros(1)},
            "frame_times: expected one row for each of 2 frames, got 1",
        ),
    ],
)
def test_shapes_that_do_not_fit_the_frames_fail(
    connection: TritonConnection, inputs: dict[str, np.ndarray], message: str
) -> None:
    """Every frame needs its own shape."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(RequestRejected, match=message):
        connection.infer(InferRequest("mouth_motion", {"frames": frames, **inputs}))
