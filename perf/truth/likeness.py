"""How like a result's lips are to the true ones, in one record of figures.

Source: docs/specs/truth.md, "Figures".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipsync_core.mouth.lips import openings, widths
from perf.truth.closures import Closures, count_closures, is_closed, opening_range
from perf.truth.curves import Curve, Mask, best_lag, correlation, mean_step, ratio

LAG_REACH_S = 0.4
PERCENT = 100.0


@dataclass(frozen=True)
class Likeness:
    """Figures of one result against the truth.

    Attributes:
        r0: Correlation of the openings at lag 0.
        best_r: The highest one within +-0.4 s.
        lag_ms: Its lag; positive if the result is late.
        r_width: Correlation of the widths at lag 0.
        lmd: Mean distance of the 40 lip points, in % of the distance of the eye corners.
        closures: Counts of closures in speech.
        shut: Share of frames with closed lips, by the result's own range.
        median, range: The result's median opening and 95th percentile, over the truth's.
        velocity, jerk: Mean size of the first and third difference of the opening, over the truth's.
    """

    r0: float
    best_r: float
    lag_ms: float
    r_width: float
    lmd: float
    closures: Closures
    shut: float
    median: float
    range: float
    velocity: float
    jerk: float

    def as_dict(self) -> dict[str, object]:
        """Return all figures for JSON; those that are unknown are None."""
        fields = dataclasses.asdict(self)
        fields |= {"found": self.closures.found_share, "false": self.closures.false_share}
        return {name: None if value != value else value for name, value in fields.items()}


def compare_lips(result: np.ndarray, truth: np.ndarray, energetic: Mask, fps: float) -> Likeness:
    """Compare the lips of a result with the true ones.

    Args:
        result: float64 [F, 40, 2], on the truth's template; NaN in frames without a face.
        truth: float64 [F, 40, 2].
        energetic: bool [F], frames whose sound is loud enough to be speech.
        fps: Frames per second.
    """
    ours, theirs = openings(result), openings(truth)
    lag, best_r = best_lag(ours, theirs, round(LAG_REACH_S * fps))
    distance = np.linalg.norm(result - truth, axis=-1).mean(axis=-1)
    return Likeness(
        r0=correlation(ours, theirs),
        best_r=best_r,
        lag_ms=1000 * lag / fps,
        r_width=correlation(widths(result), widths(truth)),
        lmd=PERCENT * _mean(distance),
        closures=count_closures(ours, theirs, energetic, fps),
        shut=float(is_closed(ours).mean()),
        median=ratio(_median(ours), _median(theirs)),
        range=ratio(opening_range(ours), opening_range(theirs)),
        velocity=ratio(mean_step(ours, 1), mean_step(theirs, 1)),
        jerk=ratio(mean_step(ours, 3), mean_step(theirs, 3)),
    )


def summary_line(figures: Sequence[Likeness]) -> str:
    """Sum up the clips in one line: means, the worst correlation, the lag furthest from 0."""
    closures = sum((figure.closures for figure in figures), Closures())
    correlations = [figure.r0 for figure in figures]
    lag = max((figure.lag_ms for figure in figures), key=abs)
    lmd = _mean(np.array([figure.lmd for figure in figures]))
    return (
        f"r0 mean {np.mean(correlations):.2f} min {min(correlations):.2f}, lag {lag:.0f} ms, LMD {lmd:.1f}, "
        f"closures found {_share(closures.found_share)} false {_share(closures.false_share)}"
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def _mean(values: Curve) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _median(values: Curve) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
