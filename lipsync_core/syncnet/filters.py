"""The median filter of the original evaluators."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def median_filter(values: np.ndarray, size: int) -> np.ndarray:
    """Replace each value, float [N], by the median of `size` (odd) values around it, padded with zeros."""
    medians: np.ndarray = np.median(sliding_window_view(np.pad(values, size // 2), size), axis=-1)
    return medians
