"""Samples as 16-bit files store them."""

from __future__ import annotations

import numpy as np

FULL_SCALE = 1 << 15  # of signed 16-bit samples


def as_16_bits(samples: np.ndarray) -> np.ndarray:
    """Round (halves up) and clip samples to what 16 bits can store, float32 [S] -> float32 [S], -1 to 1.

    Source: docs/specs/whisper.md, "Waveform".
    """
    levels = np.clip(np.floor(samples * np.float32(FULL_SCALE) + np.float32(0.5)), -FULL_SCALE, FULL_SCALE - 1)
    return (levels / np.float32(FULL_SCALE)).astype(np.float32)
