"""Whole jobs on heads that do not face the camera upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import NoFaceError
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.mouth.geometry import LEFT_EYE, LOWER_OUTER, RIGHT_EYE, UPPER_OUTER, mouth_geometry
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, head_landmarks, read_frames, swaying_head, write_video
from tests.server.jobs import job_runner

pytestmark = pytest.mark.server

FRAMES = 8
YAW = 55.0  # degrees


class TurnedHeads(TritonConnection):
    """Finds each face turned to the side; the network itself says less than 45 degrees of any drawn or warped face."""

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        answer = super().infer(request)
        if "landmarks" in answer:
            answer["landmarks"] = turned(answer["landmarks"])
        return answer


def turned(landmarks: np.ndarray) -> np.ndarray:
    """Turn landmarks, float32 [..., 3], about the vertical axis."""
    middle = landmarks.mean(axis=-2, keepdims=True)
    sine, cosine = np.sin(np.radians(YAW)), np.cos(np.radians(YAW))
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return ((landmarks - middle) @ turn.T + middle).astype(np.float32)


def test_a_head_upside_down_speaks_where_its_mouth_is(server: EmbeddedServer, tmp_path: Path) -> None:
    """The changed pixels lie around the lips of the rolled head, and none at its eyes."""
    upright = swaying_head(FRAMES)
    clip = write_video(tmp_path / "rolled.mp4", [np.rot90(frame, 2) for frame in upright])
    job_runner(server)(clip, SPEECH, tmp_path / "out.mkv", lossless=True, if_audio_longer="cut")
    before, after = (np.stack(read_frames(path)).astype(int) for path in (clip, tmp_path / "out.mkv"))
    change = np.abs(after - before).sum(axis=(0, 3))
    rows, columns = np.nonzero(change > 0.2 * change.max())
    side = len(upright[0])
    landmarks = side - 1 - head_landmarks()[:, :2]
    lips = landmarks[[*UPPER_OUTER, *LOWER_OUTER]]
    reach = np.linalg.norm(landmarks[RIGHT_EYE] - landmarks[LEFT_EYE]) / 4
    for places, axis in ((columns, 0), (rows, 1)):
        assert lips[:, axis].min() - reach < places.mean() < lips[:, axis].max() + reach
        assert np.ptp(places) > np.ptp(lips[:, axis]) / 2
    eyes = round(landmarks[[LEFT_EYE, RIGHT_EYE], 1].min() - reach)
    assert change[eyes:].max() == 0


def test_heads_turned_away_in_all_frames_fail(server: EmbeddedServer, tmp_path: Path) -> None:
    """A job that could change nothing has its own exit code, says that the heads are turned, and leaves no file."""
    assert abs(mouth_geometry(turned(head_landmarks())).yaw) > 45
    clip = write_video(tmp_path / "turned.mp4", swaying_head(FRAMES))
    run = job_runner(server, TurnedHeads)
    with pytest.raises(NoFaceError, match="nothing could be changed in 8 frames: 8 head turned too far") as failed:
        run(clip, SPEECH, tmp_path / "out.mkv", if_audio_longer="cut")
    assert failed.value.exit_code == 4
    assert not (tmp_path / "out.mkv").exists()
