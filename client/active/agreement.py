"""How well a person's lips follow a sound: evidence for each frame, from curves over time. Opens no files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lipsync_core.mouth.geometry import LEFT_EYE, RIGHT_EYE
from lipsync_core.mouth.lips import GAPS

Curve = NDArray[np.float64]

REACH_S = 0.5  # of the window around a frame, on either side
LEAST_FRAMES = 12  # of a correlation
LATEST_LAG_S, EARLIEST_LAG_S = 0.08, -0.04  # of the lips behind the opening that the sound suggests
STILL = 0.001  # of an eye distance per frame; slower lips are still
CONSTANT = 1e-6
# Logistic regression on windows of GRID's speakers s1, s31, s33 and three more (perf/RESULTS.md): people who say what
# is heard, against people who listen and people who say something else, in equal parts. The bias is 1.2 higher than
# fitted, which assigned most frames right in composed scenes: somebody in view is likelier to speak than nobody.
PER_CORRELATION, PER_SPEED, BIAS = 5.9, 3.7, 4.8
UNKNOWN = -0.5  # of frames too few to tell: rather nobody


def lip_opening(landmarks: np.ndarray) -> float:
    """Measure how far lips are open, in distances of the outer eye corners, turned heads included.

    Args:
        landmarks: float [468, 3].
    """
    gaps = [np.linalg.norm(landmarks[lower] - landmarks[upper]) for upper, lower in GAPS]
    eyes = float(np.linalg.norm(landmarks[RIGHT_EYE] - landmarks[LEFT_EYE]))
    return float(np.mean(gaps)) / max(eyes, 1e-6)


def evidence(opening: Curve, suggested: Curve, fps: float) -> Curve:
    """Return the evidence that a person says what is heard, for each frame of an unbroken run.

    Args:
        opening: float64 [F], how far the lips are open.
        suggested: float64 [F], how far the sound suggests.
        fps: frames per second.

    Returns:
        float64 [F], logarithm of the odds; positive speaks for the person.
    """
    reach = round(REACH_S * fps)
    if len(opening) < LEAST_FRAMES:
        return np.full(len(opening), UNKNOWN)
    lags = range(round(EARLIEST_LAG_S * fps), round(LATEST_LAG_S * fps) + 1)
    agreement = np.max([moving_correlation(*_shifted(opening, suggested, lag), reach) for lag in lags], axis=0)
    speed = _moving_mean(np.abs(np.diff(opening, prepend=opening[:1])) * fps / 25, reach)
    return PER_CORRELATION * agreement + PER_SPEED * np.log10(speed + STILL) + BIAS


def moving_correlation(a: Curve, b: Curve, reach: int) -> Curve:
    """Correlate two curves within a window around each frame, float64 [F]; 0 where one is constant or unknown.

    Args:
        a: float64 [F]; NaN where it is unknown.
        b: float64 [F]; NaN where it is unknown.
        reach: frames on either side, fewer at the ends.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < LEAST_FRAMES:
        return np.zeros(len(a))
    x, y = (np.where(both, curve - curve[both].mean(), 0.0) for curve in (a, b))
    count, sx, sy, sxx, syy, sxy = (_moving_sum(c, reach) for c in (both.astype(float), x, y, x * x, y * y, x * y))
    n = np.maximum(count, 1)
    scale = np.sqrt(np.maximum(sxx - sx * sx / n, 0) * np.maximum(syy - sy * sy / n, 0)) / n
    known = (count >= LEAST_FRAMES) & (scale > CONSTANT**2)
    return np.where(known, (sxy - sx * sy / n) / n / np.maximum(scale, CONSTANT**2), 0.0)


def _shifted(opening: Curve, suggested: Curve, lag: int) -> tuple[Curve, Curve]:
    """Return the opening of `lag` frames later beside the suggestion; NaN outside."""
    moved = np.full(len(opening), np.nan)
    stop = len(opening) - abs(lag)
    if stop > 0:
        moved[max(-lag, 0) : max(-lag, 0) + stop] = opening[max(lag, 0) : max(lag, 0) + stop]
    return moved, suggested


def _moving_sum(curve: Curve, reach: int) -> Curve:
    total = np.concatenate([[0.0], np.cumsum(curve)])
    places = np.arange(len(curve))
    return np.asarray(
        total[np.minimum(places + reach + 1, len(curve))] - total[np.maximum(places - reach, 0)], np.float64
    )


def _moving_mean(curve: Curve, reach: int) -> Curve:
    return _moving_sum(curve, reach) / _moving_sum(np.ones(len(curve)), reach)
