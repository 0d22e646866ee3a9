"""Mel filter banks and windows shared by all spectrograms: Slaney's mel scale, triangles, the periodic Hann window.

Source: Slaney, "Auditory Toolbox", version 2, 1998; docs/specs/wav2lip.md and docs/specs/whisper.md use these filters.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

LINEAR_BELOW_HZ = 1000.0  # the scale is linear below and logarithmic above
LINEAR_HZ_PER_MEL = 200 / 3
LINEAR_BELOW_MEL = LINEAR_BELOW_HZ / LINEAR_HZ_PER_MEL  # 15
MEL_PER_LOG_HZ = 27 / math.log(6.4)  # 27 steps from 1000 Hz to 6400 Hz


def slaney_mel(hz: float) -> float:
    """Convert a frequency in Hz to Slaney's mel scale."""
    if hz < LINEAR_BELOW_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return LINEAR_BELOW_MEL + math.log(hz / LINEAR_BELOW_HZ) * MEL_PER_LOG_HZ


def slaney_hz(mel: np.ndarray) -> np.ndarray:
    """Convert values on Slaney's mel scale to Hz, float64 [...] -> float64 [...]."""
    above = LINEAR_BELOW_HZ * np.exp((mel - LINEAR_BELOW_MEL) / MEL_PER_LOG_HZ)
    return np.where(mel < LINEAR_BELOW_MEL, mel * LINEAR_HZ_PER_MEL, above)


@functools.cache
def slaney_filters(bands: int, low_hz: float, high_hz: float, fft_size: int) -> np.ndarray:
    """Compute triangular filters of equal area, evenly spaced on Slaney's mel scale.

    Args:
        bands: Number of filters.
        low_hz: Where the first triangle begins.
        high_hz: Where the last triangle ends.
        fft_size: Number of samples of the Fourier transform.

    Returns:
        float64 [bands, 1 + fft_size // 2], read-only.
    """
    edges = slaney_hz(np.linspace(slaney_mel(low_hz), slaney_mel(high_hz), bands + 2))[:, None]
    filters = triangles(edges, fft_size) * 2 / (edges[2:] - edges[:-2])
    filters.flags.writeable = False  # shared by all callers
    return filters


def triangles(edges_hz: np.ndarray, fft_size: int) -> np.ndarray:
    """Compute triangular filters of height 1; each rises from one edge to the next and falls to the one after.

    Args:
        edges_hz: float64 [bands + 2, 1], ascending.
        fft_size: Number of samples of the Fourier transform.

    Returns:
        float64 [bands, 1 + fft_size // 2].
    """
    bins_hz = np.arange(fft_size // 2 + 1) * AUDIO_SAMPLE_RATE / fft_size
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


@functools.cache
def periodic_hann(size: int) -> np.ndarray:
    """Compute the Hann window whose next sample would be its first again, float64 [size], read-only."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window.flags.writeable = False  # shared by all callers
    return window
