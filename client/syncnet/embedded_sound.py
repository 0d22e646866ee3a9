"""Embeddings of a video's sound around any frame, computed once and forgotten when they are long past."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from client.syncnet.sound import VideoSound
from client.syncnet.towers import Towers

BLOCK = 32  # embeddings per request
BLOCKS_KEPT = 8  # of 131 kB each


class EmbeddedSound:
    """SyncNet's embeddings of a sound, one for each frame at 25 fps, before and behind it too, where it is silent."""

    def __init__(self, towers: Towers, sound: VideoSound) -> None:
        """Take the sound."""
        self._towers = towers
        self._track = sound.open(0)
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()

    def between(self, first: int, end: int) -> np.ndarray:
        """Return the embeddings of frames first to end - 1 of the video at 25 fps, float32 [N, 1024]."""
        numbers = range(first // BLOCK, (end - 1) // BLOCK + 1)
        whole = np.concatenate([self._block(number) for number in numbers])
        start = first - numbers[0] * BLOCK
        return whole[start : start + end - first]

    def _block(self, number: int) -> np.ndarray:
        if number not in self._blocks:
            windows = self._track.windows(number * BLOCK, (number + 1) * BLOCK)
            self._blocks[number] = self._towers.embed_sounds(windows)
        self._blocks.move_to_end(number)
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return self._blocks[number]
