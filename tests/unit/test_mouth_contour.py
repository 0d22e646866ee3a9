from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.audio.lip_shapes import POPULATION_GAIN, fitted_regressor
from lipsync_core.mouth import opening_gain, real_shapes, speaker_template, wanted_lips, widest_change
from lipsync_core.mouth.lips import LIPS, openings, widths
from tests.unit.mouth_samples import LANDMARKS, shape

MOUTH = speaker_template(LANDMARKS[None])[list(LIPS), :2]
LIVELY = np.array([0.0] * 8 + [0.2] * 2)  # openings of a mouth that opens wide now and then


@pytest.mark.parametrize(
    ("own", "predicted", "gain"),
    [
        (LIVELY, 0.068, 2.0),
        (np.zeros(10), 0.05, POPULATION_GAIN),
        (np.zeros(0), 0.05, POPULATION_GAIN),
        (LIVELY, 0.0, POPULATION_GAIN),
        (LIVELY, 0.01, 3.0),
        (LIVELY, 0.5, 1.0),
    ],
)
def test_the_gain_comes_from_the_clips_own_lips(own: np.ndarray, predicted: float, gain: float) -> None:
    """Photographs, silent people and silent audio get the population's."""
    assert opening_gain(own, predicted) == pytest.approx(gain)


def test_the_widest_change_is_a_percentile_over_speech() -> None:
    """A hundred shapes that open by 0 to 0.099 open by 0.094 at the 95th percentile; none, not at all."""
    shapes = np.stack([shape(0.001 * i)[:6] for i in range(100)])
    assert widest_change(shapes) == pytest.approx(0.094, abs=1e-3)
    assert widest_change(np.zeros((0, 6))) == 0


def test_the_gain_enlarges_the_opening_alone() -> None:
    """A shape that does not open the mouth stays as predicted; one that does opens it so many times further."""
    rng = np.random.default_rng(0)
    shapes = (0.05 * rng.standard_normal((20, 6))).astype(np.float32)
    once, thrice = (real_shapes(shapes, np.zeros(20, np.float32), gain)[:, :6] for gain in (1.0, 3.0))
    np.testing.assert_allclose(once, shapes, atol=1e-7)
    changes, enlarged = (_changes(found) for found in (shapes, thrice))
    np.testing.assert_allclose(enlarged, 3 * changes, atol=1e-6)
    assert np.linalg.matrix_rank(thrice - shapes, tol=1e-5) == 1


def test_closures_within_a_wide_opening_are_left_out() -> None:
    """They count in full where the mouth is not opened, and not at all where it is opened clearly."""
    shapes = np.stack([shape(opening)[:6] for opening in (-0.05, 0.0, 0.03, 0.1)])
    closures = real_shapes(shapes, np.ones(4, np.float32), 1.0)[:, 6]
    np.testing.assert_allclose(closures, [1, 1, 0.5, 0], atol=0.01)


def test_lips_close_and_never_cross() -> None:
    """Half a closure halves the opening, a whole one ends it; corners come in, and no column has a negative gap."""
    lips = wanted_lips(MOUTH, np.stack([shape(0.1, closure) for closure in (0.0, 0.5, 1.0)] + [shape(-0.3)]))
    opened = openings(lips)
    np.testing.assert_allclose(opened, [opened[0], opened[0] / 2, 0, 0], atol=0.005)
    assert widths(lips)[2] < widths(lips)[0]
    assert (lips[:, 31:40, 1] - lips[:, 21:30, 1]).min() > -1e-9


def _changes(shapes: np.ndarray) -> np.ndarray:
    """How far shapes change the opening; lips that cross count as negative."""
    far_apart = np.zeros((40, 2))
    far_apart[30:, 1] = 1
    moved = far_apart + fitted_regressor().displacements(shapes)
    return openings(moved) - openings(far_apart)
