"""SyncNet's towers in this process, so that scores need no server."""

from __future__ import annotations

import numpy as np
import torch

from export.syncnet.network import LipTower, SoundTower, SyncNet


class TorchTowers:
    """SyncNet in torch; see `client.syncnet.towers.Towers`."""

    def __init__(self, network: SyncNet) -> None:
        """Take a filled network."""
        self._lips, self._sound = LipTower(network), SoundTower(network)

    def embed_lips(self, crops: np.ndarray) -> np.ndarray:
        """Embed windows of five crops, uint8 RGB [F, 224, 224, 3]: float32 [F - 4, 1024]."""
        with torch.inference_mode():
            embeddings: np.ndarray = self._lips(torch.from_numpy(np.ascontiguousarray(crops))[None])[0].numpy()
            return embeddings

    def embed_sounds(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound, float32 [N, 13, 20]: float32 [N, 1024]."""
        with torch.inference_mode():
            embeddings: np.ndarray = self._sound(torch.from_numpy(np.ascontiguousarray(windows))).numpy()
            return embeddings
