"""Rules for synthetic weights of SyncNet; their scores are meaningless.

Source: docs/specs/synthetic-weights.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.shared.synthetic_weights import Shape, make_weights, scaled_by_inputs

SYNCNET_SEED = 3003
LIP_INPUT = "netcnnlip.0.weight"
SYNCNET_GAINS = {  # these are not centred over their inputs
    LIP_INPUT: 0.08,
    "netcnnaud.0.weight": 0.15,
    "netfclip.3.weight": 0.04,
    "netfcaud.3.weight": 0.027,
}
COMMON_BIASES = ("netfclip.3.bias", "netfcaud.3.bias")  # equal, so that the outputs of both towers are close
COMMON_STREAM = 9999  # random stream of these biases
WEIGHTED_LAYERS = ("0", "4", "8", "11", "14", "18", "3")  # convolutions and linear layers; the others are batch norms


def syncnet_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for SyncNet.

    Args:
        shapes: Shape by key.
        seed_shift: Added to the random seed, except that of the common biases.

    Returns:
        Arrays by key, float32; counters of batch normalisations int64.
    """
    return make_weights(shapes, SYNCNET_SEED + seed_shift, _syncnet_values)


def _syncnet_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key.endswith("running_mean"):
        return 0.05 * noise
    if key.endswith("running_var"):
        return np.exp(0.1 * noise)
    if key in COMMON_BIASES:
        common = np.random.Generator(np.random.PCG64([SYNCNET_SEED, COMMON_STREAM]))
        return 0.3 * common.standard_normal(noise.shape)
    _, layer, kind = key.split(".")
    if noise.ndim == 1:
        if layer in WEIGHTED_LAYERS:
            return 0.05 * noise
        return 1 + 0.1 * noise if kind == "weight" else 0.1 * noise
    if key == LIP_INPUT:
        noise = _smooth_filters(noise)
    elif key not in SYNCNET_GAINS:
        noise = noise - noise.mean(axis=1, keepdims=True)
    return scaled_by_inputs(noise, SYNCNET_GAINS.get(key, 2.0))


def _smooth_filters(noise: np.ndarray) -> np.ndarray:
    """Average neighbours along rows and columns, and keep little of each filter's mean, as pixels are 0 to 255."""
    for axis in (3, 4):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / 3
    return noise - 0.95 * noise.mean(axis=(2, 3, 4), keepdims=True)
