"""What the lip regressor hears: normalised log-mel levels around each moment, and the statistics to normalise with.

Statistics are given, never computed on the way: a job takes those of its whole audio, live output running ones.

Source: docs/specs/truth.md, "Speech to lip shape".
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.audio.mel import periodic_hann, slaney_hz, slaney_mel, triangles
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE, exact_div

HOP = 160  # samples, 10 ms
HOPS_PER_SECOND = exact_div(AUDIO_SAMPLE_RATE, HOP)  # 100
WINDOW = 400  # samples, 25 ms
FFT_SIZE = 512  # samples
SPECTRUM_BLOCK = 4096  # hops computed at once: bounds memory for long audio
BANDS = 20
RANGE_HZ = (80.0, 7600.0)
POWER_FLOOR = 1e-10  # keeps the logarithm of digital silence finite
LEVELS = BANDS + 1  # the bands, and all of them together
OFFSETS_S = np.linspace(-0.14, 0.14, 7)  # where the regressor looks, around each moment
FEATURES = LEVELS * len(OFFSETS_S)

LOUD_PERCENTILE = 95
ENERGETIC_BELOW_LOUD = 30.0  # dB; quieter hops are pauses
FLOOR_BELOW_MEDIAN = 35.0  # dB; all quieter levels count as this one
LEAST_DEVIATION = 3.0  # dB; a steady sound is not stretched to the range of speech
SILENCE_DB = -60.0  # of the energy; hops below it are never speech
BLOCK_SAMPLES = 10 * AUDIO_SAMPLE_RATE  # per block of statistics: long ones have few ends, beyond which is silence
MAX_BLOCKS = 90  # that are enough for the statistics: 15 minutes


@dataclass(frozen=True, eq=False)
class SpeechLevels:
    """How loud a speaker's audio is, in dB.

    Attributes:
        medians: float64 [21], of the bands and of the energy, over hops with speech.
        deviation: One for all of them: the root of their mean variance there.
    """

    medians: np.ndarray
    deviation: float


def log_mel(samples: np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """Compute levels of audio every 10 ms.

    Args:
        samples: float32 [S], mono at 16 kHz.
        stretch: Factor of the bands' frequencies; another one than 1 makes a voice sound as if from another throat.

    Returns:
        float64 [1 + S // 160, 21], in dB: 20 mel bands, then their sum. Hop t is centred on sample 160 t.
    """
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    windows = sliding_window_view(padded, WINDOW)[::HOP][: 1 + len(samples) // HOP]
    blocks = (windows[start : start + SPECTRUM_BLOCK] for start in range(0, len(windows), SPECTRUM_BLOCK))
    power = np.concatenate([_band_power(block, _filters(stretch)) for block in blocks])
    return 10 * np.log10(np.concatenate([power, power.sum(axis=1, keepdims=True)], axis=1) + POWER_FLOOR)


def energetic(levels: np.ndarray) -> np.ndarray:
    """Return which hops are loud enough to be speech, float64 [T, 21] -> bool [T]."""
    energy = levels[:, -1]
    if not len(energy):
        return np.zeros(0, bool)
    loud = np.percentile(energy, LOUD_PERCENTILE)
    return np.asarray(energy > max(loud - ENERGETIC_BELOW_LOUD, SILENCE_DB))


def speech_levels(levels: np.ndarray) -> SpeechLevels:
    """Measure how loud the speech in audio is.

    Args:
        levels: float64 [T, 21], as `log_mel` returns them. Without a hop of speech all hops count.
    """
    speech = levels[energetic(levels)]
    if not len(speech):
        speech = levels if len(levels) else np.zeros((1, LEVELS))
    medians = np.median(speech, axis=0)
    variance = (np.maximum(speech - medians, -FLOOR_BELOW_MEDIAN) ** 2).mean()
    return SpeechLevels(medians, max(float(np.sqrt(variance)), LEAST_DEVIATION))


def normalise(levels: np.ndarray, speech: SpeechLevels) -> np.ndarray:
    """Express levels in deviations from the speaker's medians, float64 [T, 21] -> float64 [T, 21]."""
    return np.maximum(levels - speech.medians, -FLOOR_BELOW_MEDIAN) / speech.deviation


def features_at(normalised: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Gather what the regressor looks at.

    Args:
        normalised: float64 [T, 21], one row per hop.
        times_s: float64 [N], seconds from the first hop's centre; what lies outside is like the nearest hop.

    Returns:
        float64 [N, 147]: the levels at each of seven offsets.
    """
    places = np.clip((times_s[:, None] + OFFSETS_S) * HOPS_PER_SECOND, 0, len(normalised) - 1)
    first = np.minimum(places.astype(int), max(len(normalised) - 2, 0))
    share = (places - first)[..., None]
    after = np.minimum(first + 1, len(normalised) - 1)
    rows = normalised[first] * (1 - share) + normalised[after] * share
    return rows.reshape(len(times_s), FEATURES)


def spread_blocks(blocks: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Keep at most MAX_BLOCKS blocks of audio, evenly spread over it, so that memory has a bound."""
    kept: list[np.ndarray] = []
    stride = 1
    for number, block in enumerate(blocks):
        if number % stride == 0:
            kept.append(block)
        if len(kept) > MAX_BLOCKS:
            kept, stride = kept[::2], 2 * stride
    return kept


def _band_power(windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    taper = periodic_hann(WINDOW).astype(np.float32)
    return np.abs(np.fft.rfft(windows * taper, FFT_SIZE)) ** 2 @ filters.T


@functools.cache
def _filters(stretch: float) -> np.ndarray:
    """Return triangular filters of equal area, float64 [20, 257]; with a stretch of 1 they are Slaney's."""
    low, high = (slaney_mel(hz) for hz in RANGE_HZ)
    edges = stretch * slaney_hz(np.linspace(low, high, BANDS + 2))[:, None]
    return triangles(edges, FFT_SIZE) * 2 / (edges[2:] - edges[:-2])
