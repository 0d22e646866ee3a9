from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import mouth_geometry
from lipsync_core.mouth.geometry import COLUMN_PLACES, sample_curve
from lipsync_core.mouth.target import motion_strength
from tests.unit.mouth_samples import astronaut


def turned(landmarks: np.ndarray, degrees: float) -> np.ndarray:
    """The face turned to its side around its middle, seen from the same camera."""
    middle = landmarks.mean(axis=0)
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return ((landmarks - middle) @ turn.T + middle).astype(np.float32)


def tilted(landmarks: np.ndarray, degrees: float) -> np.ndarray:
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    tilt = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return (landmarks @ tilt.T).astype(np.float32)


def test_geometry_does_not_depend_on_place_tilt_or_size() -> None:
    """Moved, tilted and enlarged, a mouth keeps its gap, width and curves in units of the face."""
    _, landmarks = astronaut()
    plain = mouth_geometry(landmarks)
    moved = mouth_geometry(tilted(landmarks, 25) * 3 + np.array([500, -200, 0], np.float32))
    assert moved.relative_gap == pytest.approx(plain.relative_gap, abs=1e-4)
    widths = [2 * geometry.half_width / geometry.eye_span for geometry in (plain, moved)]
    assert widths[1] == pytest.approx(widths[0], abs=1e-4)
    assert moved.yaw == pytest.approx(plain.yaw, abs=0.1)
    np.testing.assert_allclose(moved.upper / 3, plain.upper, atol=0.01)  # float32 landmarks around 1000


def test_local_and_image_coordinates_are_inverse() -> None:
    """What goes to the mouth's frame comes back to its pixel."""
    _, landmarks = astronaut()
    geometry = mouth_geometry(tilted(landmarks, -40))
    points = np.random.default_rng(0).uniform(0, 500, (2, 50)).astype(np.float32)
    np.testing.assert_allclose(geometry.to_image(*geometry.to_local(*points)), points, atol=1e-3)


def test_curves_are_read_linearly_and_held_beyond_the_corners() -> None:
    """A curve sampled at its own columns is itself; outside it keeps its ends."""
    curve = np.cos(COLUMN_PLACES).astype(np.float32)
    np.testing.assert_allclose(sample_curve(curve, COLUMN_PLACES), curve, atol=1e-6)
    beyond = sample_curve(curve, np.array([[-3.0, 2.0]], np.float32))
    np.testing.assert_allclose(beyond, [[curve[0], curve[-1]]], atol=1e-6)


@pytest.mark.parametrize(("degrees", "strength"), [(0, 1.0), (-30, 1.0), (40, 0.5), (-60, 0.0)])
def test_motion_fades_out_as_the_head_turns(degrees: float, strength: float) -> None:
    """Facing the camera all motion is done, turned beyond 45 degrees none."""
    _, landmarks = astronaut()
    own = mouth_geometry(landmarks).yaw
    geometry = mouth_geometry(turned(landmarks, own - degrees))
    assert geometry.yaw == pytest.approx(degrees, abs=1.5)  # her face is not quite symmetric
    assert motion_strength(geometry) == pytest.approx(strength, abs=0.25)


def test_geometry_fails_on_a_face_in_one_point() -> None:
    """Landmarks that collapse are refused by name."""
    with pytest.raises(ValueError, match="landmarks: expected the outer eye corners at least 1 pixel apart"):
        mouth_geometry(np.ones((468, 3), np.float32))
