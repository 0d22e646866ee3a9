"""Lip and sound embeddings to distances, offset and confidence. Knows nothing of what the embeddings were made of.

Source: docs/specs/syncnet.md, "From embeddings to figures".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perf.scores.syncnet.filters import median_filter

MAX_SHIFT = 15  # frames of 40 ms by which the sound is tried earlier and later
NUDGE = np.float32(1e-6)  # added to every component of a difference, as torch's pairwise distance does
SMOOTHED_FRAMES = 9  # of the confidence per frame


@dataclass(frozen=True)
class SyncNetScore:
    """What one face track scores.

    Attributes:
        lse_d: LSE-D, the least of the mean distances; lower is better.
        lse_c: LSE-C, the median of the mean distances less the least; higher is better.
        offset: where the least is, in frames of 40 ms; positive: the sound is early, ahead of the lips.
        distance_at_zero: the mean distance where sound and lips are taken as they are.
        windows: number of windows averaged over.
    """

    lse_d: float
    lse_c: float
    offset: int
    distance_at_zero: float
    windows: int


def pair_distances(lips: np.ndarray, sounds: np.ndarray, max_shift: int = MAX_SHIFT) -> np.ndarray:
    """Measure how far each lip window is from the sound windows around it.

    Args:
        lips: float32 [N, D].
        sounds: float32 [N + 2 max_shift, D], those of the same windows and of max_shift more on either side;
            zeros where the clip has none.
        max_shift: windows to either side.

    Returns:
        float32 [N, 2 max_shift + 1]; column k belongs to the sound k - max_shift windows later.
    """
    columns = [lips - sounds[k : k + len(lips)] + NUDGE for k in range(2 * max_shift + 1)]
    return np.stack([np.sqrt(np.square(column).sum(axis=1)) for column in columns], axis=1)


def score(distances: np.ndarray) -> SyncNetScore:
    """Turn a clip's distances into its score.

    Args:
        distances: float32 [N, 2 v + 1], at least one row, as `pair_distances` gives them.

    Raises:
        ValueError: a distance is not a number.
    """
    if not np.isfinite(distances).all():
        raise ValueError("distances: expected finite numbers, got NaN or infinity. Check the weights and the media")
    means = distances.mean(axis=0)
    best, middle = int(np.argmin(means)), len(means) // 2
    least = float(means[best])
    return SyncNetScore(least, float(np.median(means)) - least, middle - best, float(means[middle]), len(distances))


def frame_confidences(distances: np.ndarray) -> np.ndarray:
    """Return each window's own confidence at the clip's offset, float32 [N], smoothed over 9 with zeros outside."""
    means = distances.mean(axis=0)
    return median_filter(np.median(means) - distances[:, np.argmin(means)], SMOOTHED_FRAMES)


def score_valid_pairs(distances: np.ndarray) -> SyncNetScore | None:
    """Score as `score` does, but leave out pairs whose sound lies beyond the clip.

    For short clips these shape the published figures; figures of this variant compare with each other only.

    Returns:
        None for clips without a valid pair at every shift.
    """
    count, shifts = distances.shape
    places = np.arange(count)[:, None] + np.arange(shifts) - shifts // 2
    valid = (places >= 0) & (places < count)
    if not valid.any(axis=0).all():
        return None
    means = np.where(valid, distances, 0).sum(axis=0) / valid.sum(axis=0)
    return score(np.broadcast_to(means, (count, shifts)))
