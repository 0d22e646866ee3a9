"""Closed lips within speech: which of a speaker's closures a result has, and which of its own are false.

Source: docs/specs/truth.md, "Closures".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perf.truth.curves import Curve, Mask, Run, runs

RANGE_PERCENTILE = 95  # of a curve's openings: its range
CLOSED_BELOW = 0.20  # of the range
CLEARLY_OPEN_ABOVE = 0.30  # of the truth's range
LONGEST_S = 0.45  # longer ones are pauses
NEAR_FRAMES = 2  # a closure this far away is the same one
SPEECH_REACH_S = 0.15  # a stop's own silence lies within speech


@dataclass(frozen=True)
class Closures:
    """Counts of closures; sums of several clips are added."""

    true: int = 0
    found: int = 0
    made: int = 0
    false: int = 0

    def __add__(self, other: Closures) -> Closures:
        """Return the counts of both."""
        return Closures(
            self.true + other.true, self.found + other.found, self.made + other.made, self.false + other.false
        )

    @property
    def found_share(self) -> float | None:
        """Share of the true closures that the result has too; None without any."""
        return self.found / self.true if self.true else None

    @property
    def false_share(self) -> float | None:
        """Share of the result's closures while the truth is clearly open; None without any."""
        return self.false / self.made if self.made else None


def opening_range(openings: Curve) -> float:
    """Return how far a mouth opens: the 95th percentile of its openings; 0 without any."""
    seen = openings[np.isfinite(openings)]
    return float(np.percentile(seen, RANGE_PERCENTILE)) if len(seen) else 0.0


def is_closed(openings: Curve) -> Mask:
    """Return in which frames the lips are closed, by the curve's own range; a mouth that never opens has none."""
    scale = opening_range(openings)
    if scale <= 0:
        return np.zeros(len(openings), bool)
    return np.asarray(np.nan_to_num(openings, nan=np.inf) < CLOSED_BELOW * scale)


def count_closures(result: Curve, truth: Curve, energetic: Mask, fps: float) -> Closures:
    """Count a result's closures and the true ones.

    Args:
        result: float64 [F], openings.
        truth: float64 [F].
        energetic: bool [F], frames whose sound is loud enough to be speech.
        fps: Frames per second.
    """
    speech = _widened(energetic, round(SPEECH_REACH_S * fps))
    result_closed, truth_closed = is_closed(result), is_closed(truth)
    made, true = (_closures(closed, speech, fps) for closed in (result_closed, truth_closed))
    clearly_open = np.nan_to_num(truth, nan=0.0) > CLEARLY_OPEN_ABOVE * opening_range(truth)
    count = len(truth)
    found = sum(bool(result_closed[run.near(NEAR_FRAMES, count)].any()) for run in true)
    false = sum(bool(clearly_open[run.near(NEAR_FRAMES, count)].all()) for run in made)
    return Closures(len(true), found, len(made), false)


def _closures(closed: Mask, speech: Mask, fps: float) -> list[Run]:
    """Closed runs within speech that are no pauses; those at the ends of the clip are cut off, and left out."""
    return [
        run
        for run in runs(closed)
        if len(run) < LONGEST_S * fps
        and speech[run.first : run.last + 1].all()
        and run.first > 0
        and run.last < len(closed) - 1
    ]


def _widened(mask: Mask, reach: int) -> Mask:
    """Let every true frame reach `reach` frames further, both ways."""
    return np.asarray(np.convolve(mask, np.ones(2 * reach + 1), "same") > 0.5) if len(mask) else mask
