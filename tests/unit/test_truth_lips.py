from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth.geometry import CHIN, LEFT_EYE, RIGHT_EYE
from lipsync_core.mouth.lips import FOREHEAD, LIPS, align_lips, frontal_template, openings, widths
from tests.unit.mouth_samples import LANDMARKS

LOWER_LIP = (14, 17, 87, 317)
FRAMES = 40


def turned(face: np.ndarray, yaw: float, roll: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Turn a face in 3-D, scale and shift it."""
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return (face - face.mean(axis=0)) @ (about_z @ about_y).T * scale + [*shift, 0]


def speaking(gaps: np.ndarray) -> np.ndarray:
    """A face whose lower lip moves down by these lengths, in eye distances, along its own front."""
    face = frontal_template(LANDMARKS[None])
    faces = np.repeat(face[None], len(gaps), axis=0)
    faces[:, LOWER_LIP, 1] += gaps[:, None]
    return faces


def test_a_template_looks_straight_ahead() -> None:
    """Eye corners level and 1 apart, forehead above chin, whatever the pose."""
    template = frontal_template(turned(LANDMARKS.astype(np.float64), 0.3, 0.5, 3, (100, 50))[None])
    across, down = template[RIGHT_EYE] - template[LEFT_EYE], template[CHIN] - template[FOREHEAD]
    np.testing.assert_allclose(across, [1, 0, 0], atol=1e-9)
    assert down[1] > 1
    assert abs(down[2]) < 1e-9


def test_lips_are_the_same_in_every_pose() -> None:
    """Turning, scaling and moving the head changes no lip; opening the mouth does, by as much."""
    gaps = 0.1 * (1 + np.sin(np.arange(FRAMES) / 3))
    still = speaking(gaps)
    angles = np.sin(np.arange(FRAMES) / 5)
    moved = np.stack([turned(f, 0.4 * a, 0.3 * a, 80 + 20 * a, (300, 200)) for f, a in zip(still, angles, strict=True)])
    template = frontal_template(still)
    lips, moved_lips = align_lips(still, template), align_lips(moved, template)
    np.testing.assert_allclose(moved_lips, lips, atol=1e-6)
    assert np.corrcoef(openings(lips), gaps)[0, 1] > 0.999
    assert openings(lips).max() - openings(lips).min() == pytest.approx(np.ptp(gaps), rel=0.05)


def test_width_is_the_distance_of_the_corners() -> None:
    """Corners that move apart by a tenth of the eyes' distance widen the mouth by as much."""
    face = speaking(np.zeros(2))
    face[1, 61, 0] -= 0.05
    face[1, 291, 0] += 0.05
    narrow, wide = widths(face[:, list(LIPS), :2])
    assert wide - narrow == pytest.approx(0.1, rel=1e-3)


def test_crossing_lips_are_closed() -> None:
    """An opening is never negative."""
    assert openings(speaking(np.array([-0.5]))[:, list(LIPS), :2])[0] == 0


def test_frames_without_a_face_stay_so() -> None:
    """They are NaN, and don't disturb the template."""
    faces = speaking(np.linspace(0, 0.2, 5))
    faces[2] = np.nan
    template = frontal_template(faces)
    assert np.isfinite(template).all()
    lips = align_lips(faces, template)
    assert np.isnan(openings(lips)).tolist() == [False, False, True, False, False]


def test_a_template_fails_without_any_face() -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match="landmarks: expected at least one frame with a face, got none"):
        frontal_template(np.full((3, 468, 3), np.nan))
