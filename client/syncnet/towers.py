"""SyncNet's two towers as the client calls them, and those of a server. Opens no files."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from client.errors import LipSyncError
from client.servers.calls import InferRequest, TritonCalls
from lipsync_core.syncnet.models import LIPS_MODEL, SOUND_MODEL, SYNCNET_MODELS


class Towers(Protocol):
    """Embeds lips and sound, so that embeddings of the same moment are close if they are in sync."""

    def embed_lips(self, crops: np.ndarray) -> np.ndarray:
        """Embed windows of five crops.

        Args:
            crops: uint8 RGB [F, 224, 224, 3], consecutive at 25 fps; F is at least 5.

        Returns:
            float32 [F - 4, 1024]; window i covers crops i to i + 4.
        """

    def embed_sounds(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound.

        Args:
            windows: float32 [N, 13, 20], as `lipsync_core.syncnet.mfcc.audio_windows` returns them; N is at least 1.

        Returns:
            float32 [N, 1024].
        """


class ServedTowers:
    """SyncNet on a server."""

    def __init__(self, triton: TritonCalls) -> None:
        """Take a server with the models `syncnet_lips` and `syncnet_sound`."""
        self._triton = triton
        self._most_windows = triton.contract(SOUND_MODEL).max_batch_size

    def embed_lips(self, crops: np.ndarray) -> np.ndarray:
        """Embed windows of five crops in one request; see `Towers`."""
        answer = self._triton.infer(InferRequest(LIPS_MODEL, {"crops": crops[None]}))
        embeddings: np.ndarray = answer["lip_embeddings"][0]
        return embeddings

    def embed_sounds(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows of sound, as many per request as the model takes; see `Towers`."""
        starts = range(0, len(windows), self._most_windows)
        parts = [np.ascontiguousarray(windows[start : start + self._most_windows]) for start in starts]
        answers = [self._triton.infer(InferRequest(SOUND_MODEL, {"mfcc": part})) for part in parts]
        return np.concatenate([answer["sound_embeddings"] for answer in answers])


def towers_of(triton: TritonCalls) -> ServedTowers | None:
    """Return a server's SyncNet; None if it has none, or is not reached: a job does without."""
    if not all(map(triton.serves, SYNCNET_MODELS)):
        return None
    try:
        return ServedTowers(triton)
    except LipSyncError:  # lost just now
        return None
