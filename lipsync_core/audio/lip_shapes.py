"""Speech to lip shapes: a linear regressor that was fitted on people's mouths, the same for every speaker.

`lip_shapes` has no state: everything that it needs to know of the rest of the audio is in the statistics.

Source: docs/specs/truth.md, "Speech to lip shape".
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.audio.lip_features import (
    FEATURES,
    HOPS_PER_SECOND,
    LEVELS,
    SPECTRUM_BLOCK,
    SpeechLevels,
    energetic,
    features_at,
    log_mel,
    normalise,
    speech_levels,
    spread_blocks,
)
from lipsync_core.checks import check_audio, check_finite

COEFFICIENTS = Path(__file__).with_name("lip_shapes.json")
COMPONENTS = 6
LIP_POINTS = 40
POPULATION_GAIN = (
    1.9  # of shapes, where a clip's own lips say nothing: median of GRID's speakers, each left out of the fit
)
SMOOTHING_S = 0.035  # standard deviation; less jitters, more flattens
TAPS = np.linspace(-3, 3, 15)  # standard deviations
CLOSURE_SMOOTHING_S = 0.02  # standard deviation
NO_CLOSURE, SURE_CLOSURE = 0.38, 0.65  # scores: what a tenth of open vowels exceed, and the median of p, b and m
PEAK_REACH = 6  # hops: of two closures nearer than this the surer one counts
CLOSED_S, FALL_S = 0.02, 0.04  # a closure lasts 120 ms: fully for 40, with soft ends
CLOSURE_REACH = 12  # hops: closures this far away still matter, and so do the scores around their peaks
CONTEXT_S = 0.4  # of audio around the times: more than smoothing, offsets and closures reach


@dataclass(frozen=True, eq=False)
class Regressor:
    """Fitted numbers.

    Attributes:
        weights: float64 [147, 6], features to shape components.
        basis: float64 [6, 40, 2], lip displacements of the components, in distances of the outer eye corners;
            orthonormal, the strongest first.
        closure_weights: float64 [147], features to the closure term.
        closure_bias: What is added to it.
    """

    weights: np.ndarray
    basis: np.ndarray
    closure_weights: np.ndarray
    closure_bias: float

    def displacements(self, shapes: np.ndarray) -> np.ndarray:
        """Return how far each lip point is from its mean place, float [N, 6] -> float64 [N, 40, 2]."""
        return np.einsum("nc,cpx->npx", shapes, self.basis)


@dataclass(frozen=True, eq=False)
class SpeechStatistics:
    """What `lip_shapes` must know of a speaker's whole audio, or of what was heard of it so far.

    Attributes:
        levels: How loud the speech is.
        centre: float64 [6], the mean prediction over the speech; shapes are relative to it.
        shapes: float64 [N, 6], the predictions over the speech, relative to their mean; they are not sent.
    """

    levels: SpeechLevels
    centre: np.ndarray
    shapes: np.ndarray = field(default_factory=lambda: np.zeros((0, COMPONENTS)))

    @property
    def tensor(self) -> np.ndarray:
        """All numbers as float32 [28], for a request."""
        return np.concatenate([self.levels.medians, [self.levels.deviation], self.centre]).astype(np.float32)


def statistics_from_tensor(tensor: np.ndarray) -> SpeechStatistics:
    """Read `SpeechStatistics.tensor`.

    Raises:
        ValueError: the tensor has another length, or its numbers cannot be used.
    """
    if tensor.shape != (LEVELS + 1 + COMPONENTS,) or not np.isfinite(tensor).all() or tensor[LEVELS] <= 0:
        raise ValueError(
            f"speech_statistics: expected {LEVELS + 1 + COMPONENTS} finite numbers with a positive deviation, "
            f"got shape {list(tensor.shape)}. Send what speech_statistics computed"
        )
    numbers = tensor.astype(np.float64)
    return SpeechStatistics(SpeechLevels(numbers[:LEVELS], float(numbers[LEVELS])), numbers[LEVELS + 1 :])


@functools.cache
def fitted_regressor() -> Regressor:
    """Read the coefficients that are shipped."""
    return read_regressor(COEFFICIENTS)


def read_regressor(path: Path) -> Regressor:
    """Read a file of coefficients.

    Raises:
        ValueError: it does not hold what it must.
    """
    fields = json.loads(path.read_text(encoding="utf-8"))
    try:
        regressor = Regressor(
            np.array(fields["weights"], np.float64).reshape(FEATURES, COMPONENTS),
            np.array(fields["basis"], np.float64).reshape(COMPONENTS, LIP_POINTS, 2),
            np.array(fields["closure_weights"], np.float64).reshape(FEATURES),
            float(np.array(fields["closure_bias"], np.float64).item()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name}: expected the coefficients of a fit, got {error}. Run: python -m export mouth-shapes"
        ) from error
    check_finite(path.name, regressor.weights, "Fit again")
    return regressor


def speech_statistics(blocks: Iterable[np.ndarray], regressor: Regressor | None = None) -> SpeechStatistics:
    """Measure whole audio.

    Args:
        blocks: float32 [S] each, mono at 16 kHz: the audio in order, in blocks of BLOCK_SAMPLES.
        regressor: The coefficients; by default those that are shipped.
    """
    return statistics_of_levels(np.concatenate([log_mel(block) for block in spread_blocks(blocks)]), regressor)


def statistics_of_levels(levels: np.ndarray, regressor: Regressor | None = None) -> SpeechStatistics:
    """Measure audio of which the levels are known, float64 [T, 21], as `log_mel` returns them."""
    regressor = regressor or fitted_regressor()
    found = speech_levels(levels)
    predicted = _predicted(levels, found, regressor)
    centre = predicted.mean(axis=0) if len(predicted) else np.zeros(COMPONENTS)
    return SpeechStatistics(found, centre, predicted - centre)


def lip_shapes(
    audio: np.ndarray, statistics: SpeechStatistics, times_s: np.ndarray, regressor: Regressor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the lips at given times.

    A piece of audio gives what the whole would, if it begins at a multiple of 10 ms of the audio and reaches
    CONTEXT_S beyond the times on both sides; beyond the audio's ends lies digital silence.

    Args:
        audio: float32 [S], mono at 16 kHz, -1 to 1.
        statistics: Those of the audio.
        times_s: float64 [N], seconds from the first sample of `audio`.
        regressor: The coefficients; by default those that are shipped.

    Returns:
        shapes, float32 [N, 6]: components of the lips' displacement from their mean in speech, in distances of the
        outer eye corners; real ones are about POPULATION_GAIN times as large. closures, float32 [N]: 0 to 1, how far
        the lips are to be pressed together, as in p, b and m, for 120 ms at most.

    Raises:
        ValueError: A sample is NaN or infinite.
    """
    check_audio(audio)
    regressor = regressor or fitted_regressor()
    normalised = normalise(log_mel(audio), statistics.levels)
    shapes = _smoothed(normalised, times_s, regressor.weights, SMOOTHING_S) - statistics.centre
    return shapes.astype(np.float32), _closures(normalised, times_s, regressor).astype(np.float32)


def _closures(normalised: np.ndarray, times_s: np.ndarray, regressor: Regressor) -> np.ndarray:
    """Place a short closure at each peak of the closure score, float64 [N]."""
    if not len(times_s):
        return np.zeros(0)
    first, last = (round(float(time) * HOPS_PER_SECOND) for time in (times_s.min(), times_s.max()))
    hops = np.arange(first - CLOSURE_REACH, last + CLOSURE_REACH + 1)
    weights = regressor.closure_weights[:, None]
    scores = _smoothed(normalised, hops / HOPS_PER_SECOND, weights, CLOSURE_SMOOTHING_S)[:, 0] + regressor.closure_bias
    around = sliding_window_view(np.pad(scores, PEAK_REACH, constant_values=-np.inf), 2 * PEAK_REACH + 1)
    is_peak = (scores == around.max(axis=1)) & (scores > NO_CLOSURE)
    heights = np.clip((scores[is_peak] - NO_CLOSURE) / (SURE_CLOSURE - NO_CLOSURE), 0, 1)
    apart = np.abs(times_s[:, None] - hops[is_peak] / HOPS_PER_SECOND)
    fall = np.clip((apart - CLOSED_S) / FALL_S, 0, 1)
    return (heights * (0.5 + 0.5 * np.cos(np.pi * fall))).max(axis=1, initial=0.0)


def _smoothed(normalised: np.ndarray, times_s: np.ndarray, weights: np.ndarray, sigma_s: float) -> np.ndarray:
    """Predict with Gaussian smoothing over time, float64 [N, K].

    The features are smoothed instead of the predictions, which is the same and needs no grid.
    """
    shares = np.exp(-0.5 * TAPS**2)
    shares /= shares.sum()
    taps = [share * features_at(normalised, times_s + tap * sigma_s) for tap, share in zip(TAPS, shares, strict=True)]
    return np.sum(taps, axis=0) @ weights


def _predicted(levels: np.ndarray, speech: SpeechLevels, regressor: Regressor) -> np.ndarray:
    """Return the smoothed predictions at hops of speech, float64 [N, 6]."""
    normalised, starts = normalise(levels, speech), range(0, len(levels), SPECTRUM_BLOCK)
    times = [np.arange(start, min(start + SPECTRUM_BLOCK, len(levels))) / HOPS_PER_SECOND for start in starts]
    sharp = np.concatenate([features_at(normalised, block) @ regressor.weights for block in times])
    reach = round(3 * SMOOTHING_S * HOPS_PER_SECOND)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / HOPS_PER_SECOND / SMOOTHING_S) ** 2)
    around = sliding_window_view(np.pad(sharp, ((reach, reach), (0, 0)), mode="edge"), len(kernel), axis=0)
    return (around @ (kernel / kernel.sum()))[energetic(levels)]
