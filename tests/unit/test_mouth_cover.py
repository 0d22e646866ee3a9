from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync_core.mouth import sync_mouths, visible_mouths
from lipsync_core.mouth.cover import lower_face_colours, usual_colours, visibility
from lipsync_core.reasons import Reason
from tests.unit.mouth_samples import astronaut

DARK_SKIN, BLACK, MASK = (120, 75, 55), (30, 30, 32), (170, 200, 215)  # RGB


def usual() -> np.ndarray:
    frame, landmarks = astronaut()
    return usual_colours(lower_face_colours(frame, landmarks)[None])


def covered(colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The mouth behind an ellipse as wide as a hand."""
    frame, landmarks = astronaut()
    x, y = landmarks[14, :2].round().astype(int)
    cv2.ellipse(frame, (int(x), int(y) + 4), (34, 20), 0, 0, 360, colour, -1)
    return frame, landmarks


@pytest.mark.parametrize("colour", [DARK_SKIN, BLACK, MASK])
def test_a_covered_mouth_is_told_and_left_alone(colour: tuple[int, int, int]) -> None:
    """A hand, a microphone or a mask over the mouth stays as it was filmed."""
    frame, landmarks = covered(colour)
    assert visibility(lower_face_colours(frame, landmarks), usual()) == 0
    visible = visible_mouths(frame[None], landmarks[None], usual())
    assert (visible.strengths.tolist(), visible.reasons.tolist()) == ([0], [Reason.COVERED])
    synced, done = sync_mouths(frame[None], landmarks[None], np.array([[1, 0]], np.float32), visible=visible)
    np.testing.assert_array_equal(synced[0], frame)
    assert done.reasons.tolist() == [Reason.COVERED]


@pytest.mark.parametrize("light", ["dim", "bright", "warm", "from the left", "from above"])
def test_other_light_is_no_cover(light: str) -> None:
    """A face that moves through light and shadow keeps its motion."""
    frame, landmarks = astronaut()
    y, x = (np.mgrid[:512, :512] - landmarks[1, 1::-1, None, None])[..., None] / 60  # eye spans
    factors = {
        "dim": 0.5,
        "bright": 1.15,
        "warm": np.array([1.1, 1, 0.85]),
        "from the left": np.clip(1 - 0.25 * x, 0.5, 1.5),
        "from above": np.clip(1 - 0.25 * y, 0.5, 1.5),
    }
    relit = np.clip(frame * factors[light], 0, 255).astype(np.uint8)
    assert visibility(lower_face_colours(relit, landmarks), usual()) == 1


def test_a_speaker_whose_colours_vary_is_given_more_tolerance() -> None:
    """Tolerance grows with what the scan saw, and never falls under its floor."""
    frame, landmarks = astronaut()
    colours = lower_face_colours(frame, landmarks)
    varied = usual_colours(np.stack([colours - 0.5, colours, colours + 0.5]))
    assert (varied[1] >= usual()[1]).all()
    assert (varied[1][:, 1] > usual()[1][:, 1]).all()
    np.testing.assert_allclose(varied[0], colours, atol=1e-6)
