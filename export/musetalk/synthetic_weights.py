"""Rule for synthetic weights of the face parser.

Source: docs/specs/synthetic-weights.md, "Face parser".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.shared.synthetic_weights import SCALED_SEED, TRACKED_BATCHES, Shape, scaled_by_inputs

GAIN = 1.4
# Keys of each head that only training uses: they take part in the numbering of the random streams
TRAINING_HEADS = ("conv_out16.", "conv_out32.")
BATCH_NORM = ("bias", "num_batches_tracked", "running_mean", "running_var", "weight")
HEAD_KEYS = ("conv.conv.weight", "conv_out.weight", *(f"conv.bn.{name}" for name in BATCH_NORM))


def parser_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for the face parser.

    Args:
        shapes: Shape by key, without the training's heads.
        seed_shift: Added to the random seed.

    Returns:
        Arrays by key, float32; counters of batch normalisations int64.
    """
    numbered = sorted({*shapes, *(head + key for head in TRAINING_HEADS for key in HEAD_KEYS)})
    return {
        key: _values(key, shapes[key], np.random.Generator(np.random.PCG64([SCALED_SEED + seed_shift, position])))
        for position, key in enumerate(numbered)
        if key in shapes
    }


def _values(key: str, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.array(TRACKED_BATCHES, np.int64)
    noise = generator.standard_normal(shape, dtype=np.float32)
    if key.endswith("running_mean"):
        return np.float32(0.05) * noise
    if key.endswith("running_var"):
        return np.exp(np.float32(0.1) * noise)
    if noise.ndim == 1:
        return np.float32(1) + np.float32(0.1) * noise if key.endswith("weight") else np.float32(0.05) * noise
    return scaled_by_inputs(noise, GAIN).astype(np.float32)
