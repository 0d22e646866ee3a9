"""Keeps a mix of sounds within full scale: softer around peaks, untouched elsewhere. Knows no sounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

REACH_S = 0.01  # the level sinks within twice this before a peak, and rises within twice this after it


class Limiter:
    """Limits blocks of sound; each sample keeps its value unless a peak lies within twice `REACH_S`.

    Args:
        rate: samples per second. Blocks other than the last one hold at least `shortest_block` samples.

    Attributes:
        limited: number of samples made softer so far.
    """

    def __init__(self, rate: int) -> None:
        """Start before the first block."""
        self._reach = max(1, round(REACH_S * rate))
        self.limited = 0

    @property
    def shortest_block(self) -> int:
        """The number of samples that the limiter looks back and ahead."""
        return 2 * self._reach

    def limit(self, blocks: Iterator[tuple[np.ndarray, np.ndarray | float]]) -> Iterator[np.ndarray]:
        """Yield blocks [S, channels] within full scale, one for each that is given.

        Args:
            blocks: blocks, each with the largest value that is allowed at each of its samples.
        """
        before = np.ones(self.shortest_block)
        held: tuple[np.ndarray, np.ndarray] | None = None
        for block, allowed in blocks:
            needed = _needed_gain(block, allowed)
            if held is not None:
                yield self._softened(*held, before, needed)
                before = np.concatenate([before, held[1]])[-self.shortest_block :]
            held = block, needed
        if held is not None:
            yield self._softened(*held, before, np.ones(0))

    def _softened(self, block: np.ndarray, needed: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        rest = np.ones(max(0, self.shortest_block - len(after)))
        around = np.concatenate([before, needed, after[: self.shortest_block], rest])
        if (around == 1).all():
            return block
        width = 2 * self._reach + 1
        lost = np.cumsum(np.concatenate([[0.0], 1 - _sliding_min(around, width)]))
        gain = 1 - (lost[width:] - lost[:-width]) / width
        self.limited += int((gain < 1).sum())
        return (block * gain[:, None]).astype(np.float32)


def _needed_gain(block: np.ndarray, allowed: np.ndarray | float) -> np.ndarray:
    peaks = np.abs(block).max(axis=1, initial=0.0)
    gains = np.ones(len(block))
    np.divide(allowed, peaks, out=gains, where=peaks > allowed)
    return gains


def _sliding_min(values: np.ndarray, width: int) -> np.ndarray:
    """Return the least of each `width` neighbours, [S - width + 1]."""
    covered = 1
    while 2 * covered <= width:
        values = np.minimum(values[:-covered], values[covered:])
        covered *= 2
    rest = width - covered
    return np.minimum(values[: len(values) - rest], values[rest:])
