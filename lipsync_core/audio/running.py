"""Statistics of speech that is still being spoken, as `lip_shapes` needs them: those of what was heard so far.

They depend on the samples alone, not on when they are asked for: audio is measured in blocks, and they are taken at
certain moments of the audio.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lipsync_core.audio.lip_features import HOP, LEVELS, SILENCE_DB, WINDOW, log_mel
from lipsync_core.audio.lip_shapes import SpeechStatistics, statistics_of_levels
from lipsync_core.audio.rates import exact_div

BLOCK = 4000  # samples, 0.25 s
BLOCK_HOPS = exact_div(BLOCK, HOP)
BLOCK_NEEDS = BLOCK - HOP + WINDOW // 2  # samples from a block's first one that its hops reach into
CONTEXT_HOPS = 2  # before a block, which its first hop reaches into
KEPT_HOPS = 6000  # with sound, that the statistics are taken of: one minute
ENOUGH_HOPS = 50  # with sound, below which the statistics say less than those of the window itself
SURE_HOPS = 300  # with sound, from which on the range of the shapes counts in full
MOST_BLOCKS_BETWEEN = 20  # the statistics of long speech are taken every 5 s
GROWTH = 8  # those of short speech after each eighth of it

ReadSamples = Callable[[int, int], np.ndarray]


class RunningStatistics:
    """Measures speech as far as it was heard; holds one minute of levels."""

    def __init__(self, read: ReadSamples) -> None:
        """Take what reads samples start..stop-1 at 16 kHz, float32 [stop - start]; zeros before the first one."""
        self._read = read
        self._levels = np.zeros((0, LEVELS))
        self._blocks = 0  # measured
        self._due = 1  # number of blocks after which the statistics are taken next
        self._is_new = False  # whether any sound came since
        self._statistics: SpeechStatistics | None = None
        self.sureness = 0.0

    def until(self, heard: int) -> SpeechStatistics | None:
        """Return the statistics of the first `heard` samples; the numbers must not decrease.

        Returns:
            None while too little was heard. `sureness` then tells how much of the range of the shapes is known, 0 to 1.
        """
        while (self._blocks + 1) * BLOCK <= heard - (BLOCK_NEEDS - BLOCK):
            self._add_block()
        return self._statistics

    def _add_block(self) -> None:
        start = self._blocks * BLOCK
        samples = self._read(start - CONTEXT_HOPS * HOP, start + BLOCK_NEEDS)
        levels = log_mel(samples)[CONTEXT_HOPS : CONTEXT_HOPS + BLOCK_HOPS] if samples.any() else self._levels[:0]
        heard = levels[levels[:, -1] > SILENCE_DB]
        if len(heard):
            self._levels = np.concatenate([self._levels, heard])[-KEPT_HOPS:]
            self._is_new = True
        self._blocks += 1
        if self._blocks >= self._due:
            self._due = self._blocks + min(max(1, self._blocks // GROWTH), MOST_BLOCKS_BETWEEN)
            self._take()

    def _take(self) -> None:
        if self._is_new and len(self._levels) >= ENOUGH_HOPS:
            self._statistics = statistics_of_levels(self._levels)
            self.sureness = min(1.0, len(self._levels) / SURE_HOPS)
        self._is_new = False
