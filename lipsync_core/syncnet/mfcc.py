"""Turns audio into the windows of cepstral coefficients that SyncNet takes.

Source: docs/specs/syncnet.md, "MFCC"; the features are those of python_speech_features 0.6.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

HOP = 160  # samples, 10 ms
SEGMENT = 400  # samples, 25 ms
FFT_SIZE = 512  # samples
BANDS = 26
COEFFICIENTS = 13
LIFTER = 22
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768  # of int16
POWER_FLOOR = np.finfo(np.float64).eps  # replaces 0 in a logarithm

FPS = 25
WINDOW_FRAMES = 5
WINDOW_COLUMNS = 20  # of the same 0.2 s
FRAME_SAMPLES = AUDIO_SAMPLE_RATE // FPS  # 640
FRAME_COLUMNS = FRAME_SAMPLES // HOP  # 4
WINDOW_SAMPLES = (WINDOW_COLUMNS - 1) * HOP + SEGMENT  # 3440, covered by the columns of a window


def window_count(frames: int, samples: int) -> int:
    """Return the number of windows in a clip: one fewer than fit, as in the original; 0 for five frames or fewer.

    Args:
        frames: Number of frames at 25 fps.
        samples: Number of samples at 16 kHz.
    """
    return max(0, min(frames, samples // FRAME_SAMPLES) - WINDOW_FRAMES)


def whole_samples(samples: np.ndarray) -> np.ndarray:
    """Convert float samples [S] from -1 to 1 to int16; the features use these values unscaled."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def mfcc(samples: np.ndarray, before: int = 0) -> np.ndarray:
    """Compute cepstral columns, 100 per second.

    Args:
        samples: int16 [S], at least one, mono at 16 kHz.
        before: The sample before the first one; 0 at the beginning of the audio.

    Returns:
        float64 [T, 13]; T = 1 up to 400 samples, else 1 + ceil((S - 400) / 160). Column t starts at sample 160 t.
    """
    signal = samples - PRE_EMPHASIS * np.concatenate([[before], samples[:-1]])
    columns = 1 + max(0, -(-(len(signal) - SEGMENT) // HOP))
    padded = np.pad(signal, (0, (columns - 1) * HOP + SEGMENT - len(signal)))
    segments = sliding_window_view(padded, SEGMENT)[::HOP]
    power = np.abs(np.fft.rfft(segments, FFT_SIZE)) ** 2 / FFT_SIZE
    coefficients = _log(power @ filterbank().T) @ _cosines() * lifter()
    coefficients[:, 0] = _log(power.sum(axis=1))
    return coefficients


def audio_windows(samples: np.ndarray, before: int = 0) -> np.ndarray:
    """Cut audio into the network's windows, one per frame at 25 fps.

    Args:
        samples: int16 [S], at least 3440; window i starts at sample 640 i.
        before: The sample before the first one; 0 at the beginning of the audio.

    Returns:
        float32 [N, 13, 20], as many windows as fit.
    """
    columns = mfcc(samples, before)[: 1 + (len(samples) - SEGMENT) // HOP].astype(np.float32)
    windows: np.ndarray = sliding_window_view(columns, WINDOW_COLUMNS, axis=0)[::FRAME_COLUMNS]
    return windows


@functools.cache
def filterbank() -> np.ndarray:
    """Return triangular filters of height 1 between whole bins, float64 [26, 257]."""
    top = 2595 * np.log10(1 + AUDIO_SAMPLE_RATE / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    edges = np.floor((FFT_SIZE + 1) * hz / AUDIO_SAMPLE_RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(FFT_SIZE // 2 + 1)
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where(bins < middle, np.maximum(0, rising), np.maximum(0, falling))


@functools.cache
def lifter() -> np.ndarray:
    """Return the weights of the coefficients, float64 [13]."""
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)


@functools.cache
def _cosines() -> np.ndarray:
    """Return the orthonormal DCT-II, float64 [26, 13]."""
    bands, orders = np.arange(BANDS)[:, None], np.arange(COEFFICIENTS)
    waves = np.cos(np.pi * (2 * bands + 1) * orders / (2 * BANDS)) * np.sqrt(2 / BANDS)
    waves[:, 0] /= np.sqrt(2)
    return waves


def _log(power: np.ndarray) -> np.ndarray:
    return np.log(np.where(power == 0, POWER_FLOOR, power))
