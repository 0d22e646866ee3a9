from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import mouth_geometry, mouth_target, opening_gaps, smooth_landmarks
from lipsync_core.mouth.geometry import COLUMN_PLACES, MIDDLE, sample_curve
from lipsync_core.mouth.target import motion_strength, wide_gap
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
    assert moved.relative_width == pytest.approx(plain.relative_width, abs=1e-4)
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


@pytest.mark.parametrize("opening", [0.0, 0.3, 0.7, 1.15])
def test_target_has_the_wanted_gap(opening: float) -> None:
    """Opening further and closing both end at the gap that the shape asks for, and lips never cross."""
    _, landmarks = astronaut()
    geometry = mouth_geometry(landmarks)
    target = mouth_target(geometry, opening, 0.0, 0.15, geometry.relative_width)
    wanted = float(opening_gaps(np.float32(opening), 0.15)) * geometry.eye_span
    assert (target.lower - target.upper)[MIDDLE] == pytest.approx(wanted, rel=0.05, abs=0.3)
    assert (target.lower - target.upper).min() >= -1e-3


def test_target_of_no_strength_is_the_mouth_as_filmed() -> None:
    """With strength 0 nothing moves and nothing is painted."""
    _, landmarks = astronaut()
    target = mouth_target(mouth_geometry(landmarks), 1.0, 1.0, 0.2, 0.7, strength=0.0)
    assert np.abs(target.upper_shift).max() == np.abs(target.lower_shift).max() == 0
    assert target.corner_shift == target.interior_opacity == 0


def test_rounded_lips_are_narrower_than_spread_ones() -> None:
    """Spread moves the corners outward, rounding inward, within ten percent."""
    _, landmarks = astronaut()
    geometry = mouth_geometry(landmarks)
    widths = [mouth_target(geometry, 0.3, s, 0.15, geometry.relative_width).half_width for s in (-1, 0, 1)]
    assert widths[0] < widths[1] < widths[2]
    assert 0.88 * geometry.half_width <= widths[0]
    assert widths[2] <= 1.1 * geometry.half_width


@pytest.mark.parametrize(("gaps", "expected"), [([], 0.15), ([0.01, 0.02], 0.15), ([0.07], 0.12), ([0.5], 0.2)])
def test_wide_gap_is_the_speakers_own_within_limits(gaps: list[float], expected: float) -> None:
    """A silent or unseen speaker gets a common gap, others their own within 0.12 to 0.20."""
    assert wide_gap(np.array(gaps, np.float32)) == pytest.approx(expected)


def test_smoothing_keeps_still_landmarks_and_calms_moving_ones() -> None:
    """A face that rests stays where it is; a jitter gets smaller."""
    _, landmarks = astronaut()
    still = np.repeat(landmarks[None], 6, axis=0)
    np.testing.assert_allclose(smooth_landmarks(still), still, rtol=1e-6)
    jitter = still + np.array([1, -1, 1, -1, 1, -1], np.float32)[:, None, None]
    assert np.abs(smooth_landmarks(jitter) - still)[2:-2].max() < 0.5


def test_geometry_fails_on_a_face_in_one_point() -> None:
    """Landmarks that collapse are refused by name."""
    with pytest.raises(ValueError, match="landmarks: expected the outer eye corners at least 1 pixel apart"):
        mouth_geometry(np.ones((468, 3), np.float32))
