"""Curves over time that two mouths are compared by: correlation, lag, runs of frames. NaN: a frame without a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_FRAMES = 12  # of a correlation
CONSTANT = 1e-9  # a curve that varies less


@dataclass(frozen=True)
class Run:
    """Adjacent frames, first to last."""

    first: int
    last: int

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.last - self.first + 1

    def near(self, reach: int, count: int) -> slice:
        """Return the run with `reach` frames on both sides, within `count` frames."""
        return slice(max(self.first - reach, 0), min(self.last + 1 + reach, count))


def runs(mask: Mask) -> list[Run]:
    """List the runs of true frames, bool [F]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [Run(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def correlation(result: Curve, truth: Curve) -> float:
    """Return Pearson's r over frames with both; 0 where either is constant or too few frames have both.

    Args:
        result: float64 [F].
        truth: float64 [F].
    """
    both = np.isfinite(result) & np.isfinite(truth)
    if both.sum() < LEAST_FRAMES or np.ptp(result[both]) < CONSTANT or np.ptp(truth[both]) < CONSTANT:
        return 0.0
    return float(np.corrcoef(result[both], truth[both])[0, 1])


def correlation_at(lag: int, result: Curve, truth: Curve) -> float:
    """Correlate the result's frame i with the truth's frame i - lag; a positive lag is a late result."""
    late, early = max(lag, 0), max(-lag, 0)
    count = len(truth) - late - early
    return correlation(result[late : late + count], truth[early : early + count]) if count > 0 else 0.0


def best_lag(result: Curve, truth: Curve, reach: int) -> tuple[int, float]:
    """Return the lag within +-reach frames at which the curves agree best, and r there."""
    found = {lag: correlation_at(lag, result, truth) for lag in range(-reach, reach + 1)}
    best = max(found, key=lambda lag: (found[lag], -abs(lag)))
    return best, found[best]


def ratio(result: float, truth: float) -> float:
    """Divide; NaN where the truth is 0."""
    return result / truth if truth > CONSTANT else float("nan")


def mean_step(curve: Curve, order: int) -> float:
    """Return the mean size of the differences of an order: 1 velocity, 3 jerk; NaN without any."""
    steps = np.abs(np.diff(curve, order))
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")
