"""Turns lip and audio embeddings into distances, offset and confidence. Does not depend on the network.

Source: docs/specs/syncnet.md, "From embeddings to figures".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EMBEDDING = 1024  # numbers in an embedding
MAX_SHIFT = 15  # frames of 40 ms by which the audio is shifted in either direction
NUDGE = np.float32(1e-6)  # added to every component of a difference, as torch's pairwise distance does


@dataclass(frozen=True)
class SyncNetScore:
    """The scores of one face track.

    Attributes:
        lse_d: LSE-D, the smallest mean distance over all shifts; lower is better.
        lse_c: LSE-C, the median of the mean distances minus the smallest; higher is better.
        offset: The shift of the smallest one, in frames of 40 ms; positive if the audio is ahead of the lips.
        distance_at_zero: The mean distance without a shift.
        windows: Number of windows averaged over.
    """

    lse_d: float
    lse_c: float
    offset: int
    distance_at_zero: float
    windows: int


def pair_distances(lips: np.ndarray, sounds: np.ndarray, max_shift: int = MAX_SHIFT) -> np.ndarray:
    """Return the distance of each lip window to the audio windows around it.

    Args:
        lips: float32 [N, D].
        sounds: float32 [N + 2 max_shift, D], audio of the same windows and of max_shift more on either side; zeros
            beyond the clip.
        max_shift: Largest shift, in windows.

    Returns:
        float32 [N, 2 max_shift + 1]; column k belongs to audio k - max_shift windows later.
    """
    columns = [lips - sounds[k : k + len(lips)] + NUDGE for k in range(2 * max_shift + 1)]
    return np.stack([np.sqrt(np.square(column).sum(axis=1)) for column in columns], axis=1)


def score(distances: np.ndarray) -> SyncNetScore:
    """Score a clip by its distances.

    Args:
        distances: float32 [N, 2 v + 1], at least one row, as `pair_distances` returns them.

    Raises:
        ValueError: a distance is not a number.
    """
    if not np.isfinite(distances).all():
        raise ValueError("distances: expected finite numbers, got NaN or infinity. Check the weights and the media")
    means = distances.mean(axis=0)
    best, middle = int(np.argmin(means)), len(means) // 2
    least = float(means[best])
    return SyncNetScore(least, float(np.median(means)) - least, middle - best, float(means[middle]), len(distances))


def score_valid_pairs(distances: np.ndarray) -> SyncNetScore | None:
    """Score without the pairs whose audio lies beyond the clip; they dominate the published figures of short clips.

    Args:
        distances: float32 [N, 2 v + 1], as `pair_distances` returns them.

    Returns:
        The score, comparable only with others of this variant; None without a valid pair at every shift.
    """
    count, shifts = distances.shape
    places = np.arange(count)[:, None] + np.arange(shifts) - shifts // 2
    valid = (places >= 0) & (places < count)
    if not valid.any(axis=0).all():
        return None
    means = np.where(valid, distances, 0).sum(axis=0) / valid.sum(axis=0)
    return score(np.broadcast_to(means, (count, shifts)))
