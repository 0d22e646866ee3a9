"""Whether a clip's sound belongs to its picture: the opening that the sound suggests against the true one.

Source: docs/specs/truth.md, "Does the sound belong to the picture?".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perf.truth.curves import Curve, best_lag

LAG_REACH_S = 1.0
TRIALS = 200
CHANCE_PERCENTILE = 95
SEED = 0


@dataclass(frozen=True)
class Belonging:
    """How well sound and picture agree.

    Attributes:
        r: The highest correlation within +-1 s.
        lag_ms: Its lag; positive if the mouth is late.
        chance: The 95th percentile of what the sound reaches when it is shifted in time, around the clip's end.
    """

    r: float
    lag_ms: float
    chance: float

    @property
    def is_certain(self) -> bool:
        """Whether the agreement beats chance."""
        return self.r > self.chance


def check_belonging(suggested: Curve, truth: Curve, fps: float) -> Belonging:
    """Compare a suggested opening with the true one, and with itself at other times.

    Args:
        suggested: float64 [F], what the sound suggests, by a regressor that was fitted on other people.
        truth: float64 [F], the true openings.
        fps: Frames per second.
    """
    reach = min(round(LAG_REACH_S * fps), len(truth) // 4)
    lag, r = best_lag(truth, suggested, reach)
    shifts = np.random.default_rng(SEED).integers(reach + 1, len(truth) - reach, TRIALS)
    by_shift = {int(shift): best_lag(truth, np.roll(suggested, shift), reach)[1] for shift in set(shifts.tolist())}
    chance = float(np.percentile([by_shift[int(shift)] for shift in shifts], CHANCE_PERCENTILE))
    return Belonging(r, 1000 * lag / fps, chance)
