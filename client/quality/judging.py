"""Judges how well a mouth does from its openings and from what the speech suggests. Knows no pictures and no server.

The limits were chosen on clips of people who say what is heard, what somebody else says, and what they say earlier or
later: perf/RESULTS.md, "The check of results".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.quality.report import Finding
from client.wording import counted

LAGS_S = np.round(np.arange(-20, 21) * 0.02, 2)  # the mouth later than the speech
NEAR_S = 0.041  # lags too small to notice, by which real mouths differ too
LEAST_FRAMES = 20  # in speech, of a correlation
LEAST_RANGE = 0.03  # eye distances between the 5th and the 95th percentile in speech; less is a mouth that rests
FOLLOWS, DOES_NOT_FOLLOW = 0.45, 0.30  # correlations
SURE_PEAK, CLEAR_PEAK = 0.5, 0.12  # of a correlation at another lag, and how much it exceeds that near lag 0
LEAST_SILENT = 5  # frames
STILL, MOVES = 0.15, 0.30  # of the range in speech
FLICKER_SEEN, FLICKER_STRONG = 1.0, 2.5  # grey levels
EDGE_SEEN, EDGE_STRONG = 4.0, 8.0  # grey levels


NO_SILENCE = Finding("unknown", None, "cannot tell how still the mouth is in silence: there is too little of it")
SILENCE_UNKNOWN = Finding(
    "unknown", None, "cannot tell how still the mouth is in silence: the job does not find out when there is any"
)
NO_OFFSET = Finding("unknown", None, "cannot tell whether the mouth is early or late")


@dataclass(frozen=True, eq=False)
class MouthSamples:
    """One mouth at some times.

    Attributes:
        openings: float64 [F], in distances of the outer eye corners; NaN where the mouth is not seen.
        suggested: float64 [F, L], what the speech suggests at each of LAGS_S.
        voiced: bool [F], whether there is speech.
        silent: bool [F], whether there is no speech within 0.2 s; None if it is not known when there is speech.
    """

    openings: np.ndarray
    suggested: np.ndarray
    voiced: np.ndarray
    silent: np.ndarray | None

    def thinned(self, every: int) -> MouthSamples:
        """Return every n-th sample, as a copy, so that the others need not be kept."""
        return MouthSamples(
            self.openings[::every].copy(),
            self.suggested[::every].copy(),
            self.voiced[::every].copy(),
            None if self.silent is None else self.silent[::every].copy(),
        )

    @property
    def spoken(self) -> np.ndarray:
        """Which samples show the mouth in speech, bool [F]."""
        return self.voiced & np.isfinite(self.openings)

    @property
    def range(self) -> float:
        """How far the mouth moves in speech."""
        seen = self.openings[self.spoken]
        return float(np.diff(np.percentile(seen, [5, 95]))[0]) if len(seen) else 0.0


def joined(parts: Sequence[MouthSamples]) -> MouthSamples:
    """Put samples of one speaker together."""
    silent = [part.silent for part in parts if part.silent is not None]
    return MouthSamples(
        np.concatenate([part.openings for part in parts]),
        np.concatenate([part.suggested for part in parts]),
        np.concatenate([part.voiced for part in parts]),
        np.concatenate(silent) if silent else None,
    )


def correlations(samples: MouthSamples) -> np.ndarray:
    """Correlate openings in speech with what is suggested, float64 [L]; 0 where one of them is constant."""
    rows = samples.spoken
    opening, curve = samples.openings[rows], samples.suggested[rows]
    opening, curve = opening - opening.mean(), curve - curve.mean(axis=0)
    scale = np.sqrt((opening**2).sum() * (curve**2).sum(axis=0))
    return np.asarray(np.where(scale > 0, opening @ curve / np.maximum(scale, 1e-12), 0.0))


def correlation_near(samples: MouthSamples) -> float:
    """Return the highest correlation at lags too small to notice."""
    return _near(correlations(samples))


def judge_following(samples: MouthSamples) -> Finding:
    """Tell whether the mouth follows the speech."""
    weak = _too_weak(samples)
    if weak is not None:
        return weak
    if samples.range < LEAST_RANGE:
        return Finding("bad", 0.0, "the mouth does not move with the speech")
    value = correlation_near(samples)
    if value >= FOLLOWS:
        return _finding("good", value, "the mouth follows the speech")
    if value >= DOES_NOT_FOLLOW:
        return _finding("doubtful", value, "the mouth follows the speech loosely")
    return _finding("bad", value, "the mouth does not follow the speech")


def judge_silence(samples: MouthSamples) -> Finding:
    """Tell whether the mouth is still while nobody speaks."""
    if samples.silent is None:
        return SILENCE_UNKNOWN
    seen = samples.openings[samples.silent & np.isfinite(samples.openings)]
    if len(seen) < LEAST_SILENT:
        return NO_SILENCE
    motion = float(np.std(seen)) / max(samples.range, LEAST_RANGE)
    if motion <= STILL:
        return _finding("good", motion, "the mouth is still in silence")
    if motion <= MOVES:
        return _finding("doubtful", motion, "the mouth is not quite still in silence")
    return _finding("bad", motion, "the mouth moves in silence")


def judge_offset(samples: MouthSamples) -> Finding:
    """Tell whether the mouth moves too early or too late."""
    if _too_weak(samples) is not None or samples.range < LEAST_RANGE:
        return NO_OFFSET
    by_lag = correlations(samples)
    best = int(np.argmax(by_lag))
    is_clear = by_lag[best] >= SURE_PEAK and by_lag[best] - _near(by_lag) >= CLEAR_PEAK
    if is_clear and 0 < best < len(LAGS_S) - 1:
        offset = _peak(by_lag, best)
        side = "later" if offset > 0 else "earlier"
        return _finding("bad", offset, f"the mouth moves {abs(offset):.2f} s {side} than the speech")
    if _near(by_lag) >= FOLLOWS:
        return _finding(
            "good", 0.0 if abs(LAGS_S[best]) > NEAR_S else _peak(by_lag, best), "lips and speech are in time"
        )
    return NO_OFFSET


def judge_flicker(extra: float | None) -> Finding:
    """Put flicker, in grey levels, into words."""
    return _by_limits(
        extra, FLICKER_SEEN, FLICKER_STRONG, ("no added flicker", "some flicker", "the changed region flickers")
    )


def judge_edge(step: float | None) -> Finding:
    """Put the change along the edge, in grey levels, into words."""
    words = (
        "no visible edge around the changed region",
        "the changed region may have a visible edge",
        "the changed region has a visible edge",
    )
    return _by_limits(step, EDGE_SEEN, EDGE_STRONG, words)


def _too_weak(samples: MouthSamples) -> Finding | None:
    """Return why nothing can be said about the motion in speech; None if there is enough of it."""
    count, spoken = int(samples.spoken.sum()), int(samples.voiced.sum())
    if count >= LEAST_FRAMES:
        return None
    if spoken >= LEAST_FRAMES:
        why = "its mouth is seen from the side, or not at all"
    else:
        kind = "" if samples.silent is None else " with speech"
        why = f"{counted(spoken, 'frame')}{kind} {'is' if spoken == 1 else 'are'} too few"
    return Finding("unknown", None, f"cannot tell whether the mouth follows the speech: {why}")


def _near(by_lag: np.ndarray) -> float:
    return float(by_lag[np.abs(LAGS_S) <= NEAR_S].max())


def _peak(by_lag: np.ndarray, best: int) -> float:
    """Return the lag of the highest correlation, between the steps by a parabola."""
    if not 0 < best < len(LAGS_S) - 1:
        return float(LAGS_S[best])
    before, top, after = by_lag[best - 1 : best + 2]
    bend = before - 2 * top + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(LAGS_S[best] + shift * (LAGS_S[1] - LAGS_S[0]))


def _by_limits(value: float | None, seen: float, strong: float, words: tuple[str, str, str]) -> Finding:
    if value is None:
        return Finding("unknown", None, f"cannot tell whether {words[2]}")
    if value < seen:
        return _finding("good", value, words[0])
    return _finding("doubtful", value, words[1]) if value < strong else _finding("bad", value, words[2])


def _finding(verdict: str, value: float, text: str) -> Finding:
    return Finding(verdict, round(value, 3), text)  # type: ignore[arg-type]
