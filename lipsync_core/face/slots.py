"""One row of slots per frame, as many as the frame with most faces needs."""

from __future__ import annotations

import numpy as np


def fill_slots(values: np.ndarray, frame_indices: np.ndarray, frames: int, empty: float = np.nan) -> np.ndarray:
    """Give each frame as many slots as the fullest one needs.

    Args:
        values: float [K, ...], one row per face, in the order of the frames.
        frame_indices: int [K], ascending, the frame of each face.
        frames: how many frames there are.
        empty: what a slot without a face holds.

    Returns:
        float32 [frames, N, ...]; N is 0 where no frame has a face.
    """
    counts = np.bincount(frame_indices, minlength=frames)
    slots = np.arange(len(frame_indices)) - (np.cumsum(counts) - counts)[frame_indices]
    filled = np.full((frames, counts.max(), *values.shape[1:]), empty, np.float32)
    filled[frame_indices, slots] = values
    return filled
