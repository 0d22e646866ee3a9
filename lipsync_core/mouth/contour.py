"""The lips that speech asks for: the speaker's mean mouth, moved by shape components, and closed.

Lengths are in distances of the outer eye corners, on the speaker's template (`lips.frontal_template`).

Source: docs/specs/mouth-motion.md, "Lips".
"""

from __future__ import annotations

import functools

import numpy as np

from lipsync_core.audio.lip_shapes import COMPONENTS, POPULATION_GAIN, fitted_regressor
from lipsync_core.mouth.geometry import smoothstep, uncrossed
from lipsync_core.mouth.lips import openings, signed_openings

SHAPE_SIZE = COMPONENTS + 1  # components of the displacement, and closure: 0 as they say to 1 for closed lips
UPPER_OUTER_AT, LOWER_OUTER_AT = slice(1, 10), slice(11, 20)  # in LIPS, without the corners
UPPER_INNER_AT, LOWER_INNER_AT = slice(21, 30), slice(31, 40)

# Standard deviations of the components and the mean opening in speech of GRID's speakers.
POPULATION_SPREAD = np.array([0.16, 0.10, 0.055, 0.05, 0.03, 0.015])
POPULATION_OPENING = 0.07
RANGE_PERCENTILE = 95
OWN_RANGE_LEAST = 0.03  # of a clip's 95th percentile over its mean opening: below, the person is silent
RANGE_SHARE = 0.85  # of the clip's own range: speech tells the opening only in part, and more would be too lively
GAIN_LIMITS = (1.0, 3.0)
WIDEST_OPENING = 0.30  # openings approach it, and never reach it
FREE_OPENING = 0.20  # openings up to here are as predicted
NO_CLOSURE_CHANGE = 0.06  # an opening so much wider than the mean one leaves closures out
UPPER_SHARE = 0.35  # of the way that is left between closing lips
OUTER_SHARE = 0.4  # of what is left moves the outer contour too


def moves_lips(own: np.ndarray) -> bool:
    """Return whether somebody's openings in a clip, float64 [N], vary as they do in speech."""
    return _reach(own) >= OWN_RANGE_LEAST


def speaking_mouth(lips: np.ndarray) -> np.ndarray:
    """Return how the lips of a silent person would look on average in speech, float [40, 2] -> float64 [40, 2]."""
    return lips + _along_opening(POPULATION_OPENING - openings(lips))


def real_shapes(shapes: np.ndarray, closures: np.ndarray, gain: float) -> np.ndarray:
    """Enlarge predicted shapes, which are smaller than real ones.

    Only the opening is enlarged, as speech predicts the other components too poorly. A closure predicted within a wide
    opening is usually false, and left out.

    Args:
        shapes: float32 [N, 6], as `lip_shapes` predicts them.
        closures: float32 [N].
        gain: How much further the mouth opens.

    Returns:
        float32 [N, 7], components at their real size, and closure.
    """
    changes = shapes @ _opening_effects()
    enlarged = shapes + (gain - 1) * changes[:, None] * _opening_components()
    kept = closures * (1 - smoothstep(gain * changes / NO_CLOSURE_CHANGE))
    return np.concatenate([enlarged, kept[:, None]], axis=1).astype(np.float32)


def opening_gain(own: np.ndarray, predicted: float) -> float:
    """Return how far shapes must be enlarged to open the mouth as far as the speaker does.

    Args:
        own: float64 [N], openings of the clip's own mouth.
        predicted: what `widest_change` returns for the predicted shapes.

    Returns:
        The gain; the population's for a silent person.
    """
    if not moves_lips(own) or predicted <= 0:
        return POPULATION_GAIN
    return float(np.clip(RANGE_SHARE * _reach(own) / predicted, *GAIN_LIMITS))


def widest_change(shapes: np.ndarray) -> float:
    """Return how far shapes open the mouth, float [N, 6]: the 95th percentile of the openings over their mean."""
    return float(np.percentile(shapes @ _opening_effects(), RANGE_PERCENTILE)) if len(shapes) else 0.0


def asked_openings(shapes: np.ndarray) -> np.ndarray:
    """Return how far shapes open the population's mean mouth, float [N, 7] -> float64 [N], in eye corner distances."""
    free = POPULATION_OPENING + shapes[:, :COMPONENTS] @ _opening_effects()
    return np.asarray(np.maximum(free, 0) * (1 - shapes[:, COMPONENTS]))


def mean_mouth(lips: np.ndarray) -> np.ndarray:
    """Return a clip's mean mouth in speech, float64 [N, 40, 2] -> float64 [40, 2]."""
    mean = np.asarray(lips.mean(axis=0))
    return mean if moves_lips(openings(lips)) else speaking_mouth(mean)


def wanted_lips(mean: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Move a mean mouth.

    Args:
        mean: float [40, 2], the mean mouth in speech.
        shapes: float [N, 7], components at their real size, and closure.

    Returns:
        float64 [N, 40, 2]; lips never cross.
    """
    moved = mean + fitted_regressor().displacements(shapes[:, :COMPONENTS].astype(np.float64))
    asked = signed_openings(moved)
    moved = moved + _along_opening(_limited(asked) - asked)
    closure = shapes[:, COMPONENTS, None, None]
    return _uncrossed(moved + closure * (closed_lips(moved) - moved))


def closed_lips(lips: np.ndarray) -> np.ndarray:
    """Close lips as people do, float [N, 40, 2] -> float64 [N, 40, 2]: corners come in, and the lips meet."""
    lips = lips + _along_opening(-openings(lips))
    gap = np.maximum(lips[:, LOWER_INNER_AT, 1] - lips[:, UPPER_INNER_AT, 1], 0)
    closed = lips.copy()
    closed[:, UPPER_INNER_AT, 1] += UPPER_SHARE * gap
    closed[:, LOWER_INNER_AT, 1] -= (1 - UPPER_SHARE) * gap
    closed[:, UPPER_OUTER_AT, 1] += OUTER_SHARE * UPPER_SHARE * gap
    closed[:, LOWER_OUTER_AT, 1] -= OUTER_SHARE * (1 - UPPER_SHARE) * gap
    return closed


def _reach(own: np.ndarray) -> float:
    return float(np.percentile(own, RANGE_PERCENTILE) - own.mean()) if len(own) else 0.0


def _limited(opening: np.ndarray) -> np.ndarray:
    opening = np.maximum(opening, 0)
    room = WIDEST_OPENING - FREE_OPENING
    return np.where(opening > FREE_OPENING, FREE_OPENING + room * np.tanh((opening - FREE_OPENING) / room), opening)


def _along_opening(change: np.ndarray) -> np.ndarray:
    """Return how lips move, float64 [..., 40, 2], as people's openings change by float64 [...]."""
    return np.asarray(np.asarray(change)[..., None, None] * _opening_direction())


@functools.cache
def _opening_direction() -> np.ndarray:
    """Return the displacement that goes with a unit of opening: its regression in the population, [40, 2]."""
    return fitted_regressor().displacements(_opening_components()[None])[0]


@functools.cache
def _opening_components() -> np.ndarray:
    """Return the components of that displacement, float64 [6]."""
    weighted = POPULATION_SPREAD**2 * _opening_effects()
    return weighted / (weighted @ _opening_effects())


@functools.cache
def _opening_effects() -> np.ndarray:
    """Return the opening of a unit of each component, float64 [6]."""
    return signed_openings(fitted_regressor().basis)


def _uncrossed(lips: np.ndarray) -> np.ndarray:
    """Let lips that cross meet in the middle."""
    apart = lips.copy()
    apart[:, UPPER_INNER_AT, 1], apart[:, LOWER_INNER_AT, 1] = uncrossed(
        lips[:, UPPER_INNER_AT, 1], lips[:, LOWER_INNER_AT, 1]
    )
    return apart
