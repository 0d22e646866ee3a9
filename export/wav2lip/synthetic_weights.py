"""Rules for synthetic weights of the Wav2Lip generator and of S3FD.

Source: docs/specs/synthetic-weights.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from export.shared.synthetic_weights import Shape, make_weights, scaled_by_inputs

GENERATOR_SEED = 1001
S3FD_SEED = 2002

NORM_SCALES = {"conv3_3_norm.weight": 10.0, "conv4_3_norm.weight": 8.0, "conv5_3_norm.weight": 5.0}
CONF_GAINS_BIASES = {  # confidence heads: gain of the weights, amount added to the bias of the face's confidence
    "conv3_3_norm_mbox_conf": (4.0, -7.4),
    "conv4_3_norm_mbox_conf": (8.0, -2.0),
    "conv5_3_norm_mbox_conf": (12.0, -3.0),
    "fc7_mbox_conf": (1.0, -4.0),
    "conv6_2_mbox_conf": (1.0, -4.5),
    "conv7_2_mbox_conf": (1.0, -0.5),
}
S3FD_GAINS = {
    "conv1_1": 0.03,
    "conv3_3_norm_mbox_loc": 1.0,
    "conv4_3_norm_mbox_loc": 4.0,
    "conv5_3_norm_mbox_loc": 5.0,
    "fc7_mbox_loc": 1.0,
    "conv6_2_mbox_loc": 1.0,
    "conv7_2_mbox_loc": 1.0,
    **{head: gain for head, (gain, _) in CONF_GAINS_BIASES.items()},
}
GENERATOR_GAINS = {
    "output_block.1.weight": 1.2,
    "face_encoder_blocks.0.0.conv_block.0.weight": 5.0,
    "face_decoder_blocks.0.0.conv_block.0.weight": 8.0,
}
SAME_SIZE_GAIN = 0.6  # 3x3 convolutions that keep the number of channels
OTHER_GAIN = 1.4


def generator_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for the Wav2Lip generator.

    Args:
        shapes: Shape by key.
        seed_shift: Added to the random seed.

    Returns:
        Arrays by key, float32; counters of batch normalisations int64.
    """
    return make_weights(shapes, GENERATOR_SEED + seed_shift, _generator_values)


def s3fd_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for S3FD.

    Args:
        shapes: Shape by key.
        seed_shift: Added to the random seed.

    Returns:
        Arrays by key, float32.
    """
    return make_weights(shapes, S3FD_SEED + seed_shift, _s3fd_values)


def _generator_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key.endswith("running_mean"):
        return 0.05 * noise
    if key.endswith("running_var"):
        return np.exp(0.1 * noise)
    if key.endswith("conv_block.1.weight"):
        return 1 + 0.1 * noise
    if key.endswith("conv_block.1.bias"):
        return 0.1 * noise
    if noise.ndim == 1:
        return 0.05 * noise
    if _is_transposed(key):
        return (noise - noise.mean(axis=0, keepdims=True)) * (1 / math.sqrt(2 * noise.shape[0]))
    outputs, inputs, height, _ = noise.shape
    keeps_size = outputs == inputs and height == 3
    return scaled_by_inputs(noise, GENERATOR_GAINS.get(key, SAME_SIZE_GAIN if keeps_size else OTHER_GAIN))


def _is_transposed(key: str) -> bool:
    first_of_stage = key.startswith("face_decoder_blocks.") and key.endswith(".0.conv_block.0.weight")
    return first_of_stage and not key.startswith("face_decoder_blocks.0.")


def _s3fd_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key in NORM_SCALES:
        return NORM_SCALES[key] * (1 + 0.1 * noise)
    layer, _, kind = key.rpartition(".")
    if kind == "weight":
        return scaled_by_inputs(noise, S3FD_GAINS.get(layer, OTHER_GAIN))
    values = 0.05 * noise
    if layer in CONF_GAINS_BIASES:
        values[-1] += CONF_GAINS_BIASES[layer][1]
    return values
