"""One row of slots per frame, as many as the frame with most faces needs."""

from __future__ import annotations

import numpy as np


def fill_slots(values: np.ndarray, frame_indices: np.ndarray, frames: int, empty: float = np.nan) -> np.ndarray:
    """Arrange faces by frame, with as many slots per frame as the frame with most faces needs.

    Args:
        values: float [K, ...], one row per face, ordered by frame.
        frame_indices: int [K], the frame of each face, ascending.
        frames: The number of frames, F.
        empty: The value of slots without a face.

    Returns:
        float32 [F, N, ...]; N is 0 if no frame has a face.
    """
    counts = np.bincount(frame_indices, minlength=frames)
    slots = np.arange(len(frame_indices)) - (np.cumsum(counts) - counts)[frame_indices]
    filled = np.full((frames, counts.max(), *values.shape[1:]), empty, np.float32)
    filled[frame_indices, slots] = values
    return filled
