"""The median filter that the originals smooth with."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def median_filter(values: np.ndarray, size: int) -> np.ndarray:
    """Replace each value by the median of `size` (odd) values around it; outside are zeros, as in the originals."""
    medians: np.ndarray = np.median(sliding_window_view(np.pad(values, size // 2), size), axis=-1)
    return medians
