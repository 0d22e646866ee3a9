"""Speech to the cepstral windows that SyncNet hears. Knows nothing of pictures.

Source: docs/specs/syncnet.md, "MFCC"; the features are those of python_speech_features 0.6.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples, 10 ms
SEGMENT = 400  # samples, 25 ms
FFT_SIZE = 512  # samples
BANDS = 26
COEFFICIENTS = 13
LIFTER = 22
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768  # of int16
POWER_FLOOR = np.finfo(np.float64).eps  # stands for 0 under a logarithm

FPS = 25
WINDOW_FRAMES = 5
WINDOW_COLUMNS = 20  # of the same 0.2 s
FRAME_SAMPLES = SAMPLE_RATE // FPS  # 640
FRAME_COLUMNS = FRAME_SAMPLES // HOP  # 4
WINDOW_SAMPLES = (WINDOW_COLUMNS - 1) * HOP + SEGMENT  # that a window's columns look at: 3440


def window_count(frames: int, samples: int) -> int:
    """Count the windows of a clip: one less than would fit, as in the original; 0 for clips of five frames or less.

    Args:
        frames: number of frames at 25 fps.
        samples: number of samples at 16 kHz.
    """
    return max(0, min(frames, samples // FRAME_SAMPLES) - WINDOW_FRAMES)


def whole_samples(samples: np.ndarray) -> np.ndarray:
    """Bring float samples of full scale 1 to int16; the features take these as they are."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def mfcc(samples: np.ndarray, before: int = 0) -> np.ndarray:
    """Turn speech into cepstral columns, 100 per second.

    Args:
        samples: int16 [S], at least one, mono at 16 kHz.
        before: the sample before the first one, where these are a part of a longer speech.

    Returns:
        float64 [T, 13]; T = 1 up to 400 samples, else 1 + ceil((S - 400) / 160). Column t begins at sample 160 t.
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
    """Cut speech into the network's windows, one per frame of 25 fps.

    Args:
        samples: int16 [S], at least 3440; window i begins at sample 640 i.
        before: the sample before the first one, where these are a part of a longer speech.

    Returns:
        float32 [N, 13, 20], as many windows as fit.
    """
    columns = mfcc(samples, before)[: 1 + (len(samples) - SEGMENT) // HOP].astype(np.float32)
    windows: np.ndarray = sliding_window_view(columns, WINDOW_COLUMNS, axis=0)[::FRAME_COLUMNS]
    return windows


@functools.cache
def filterbank() -> np.ndarray:
    """Triangles of height 1 between whole bins, float64 [26, 257]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    edges = np.floor((FFT_SIZE + 1) * hz / SAMPLE_RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(FFT_SIZE // 2 + 1)
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where(bins < middle, np.maximum(0, rising), np.maximum(0, falling))


@functools.cache
def lifter() -> np.ndarray:
    """Weights of the coefficients, float64 [13]."""
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)


@functools.cache
def _cosines() -> np.ndarray:
    """Orthonormal DCT-II, float64 [26, 13]."""
    bands, orders = np.arange(BANDS)[:, None], np.arange(COEFFICIENTS)
    waves = np.cos(np.pi * (2 * bands + 1) * orders / (2 * BANDS)) * np.sqrt(2 / BANDS)
    waves[:, 0] /= np.sqrt(2)
    return waves


def _log(power: np.ndarray) -> np.ndarray:
    return np.log(np.where(power == 0, POWER_FLOOR, power))
