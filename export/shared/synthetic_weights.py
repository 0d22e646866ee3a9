"""Made-up weights of full size, the same on every machine: everything runs and is measured without real ones.

What they draw is textured noise, and what they judge says nothing. Source: docs/specs/synthetic-weights.md.
Knows shapes, no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Shape = tuple[int, ...]
Rule = Callable[[str, np.ndarray], np.ndarray]  # a key and its standard normal noise -> values

GENERATOR_SEED = 1001
S3FD_SEED = 2002
LATENTSYNC_SEED = 20250611
SYNCNET_SEED = 3003
SFD_SEED = 4004
TRACKED_BATCHES = 1000

NORM_SCALES = {"conv3_3_norm.weight": 10.0, "conv4_3_norm.weight": 8.0, "conv5_3_norm.weight": 5.0}
CONF_GAINS_BIASES = {  # confidence heads: gain of the weights, what the face's bias is raised by
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
SAME_SIZE_GAIN = 0.6  # of 3x3 convolutions that keep the number of channels
OTHER_GAIN = 1.4
LATENTSYNC_TABLES = ("pos_encoder.pe", "positional_embedding")  # not made up: their formula's values stay
LATENTSYNC_GAINS = (  # the first that a key holds
    ("attn2.to_v.", 2.0),
    ("attn2.to_out.", 1.5),
    ("attn1.to_out.", 0.7),
    ("attention_blocks.", 1.0),
    ("temporal_transformer.proj_out.", 1.0),
    ("ff.net.2.", 0.7),
    ("proj_out.", 0.7),
    ("conv2.", 0.7),
    ("time_emb_proj.", 2.0),
    ("post_quant_conv.", 0.2),
    ("decoder.conv_out.", 0.6),
    ("conv_in.", 1.4),
    ("conv_out.", 1.7),
)
SYNCNET_LIP_INPUT = "netcnnlip.0.weight"
SYNCNET_GAINS = {  # these are not centred over their inputs
    SYNCNET_LIP_INPUT: 0.08,
    "netcnnaud.0.weight": 0.15,
    "netfclip.3.weight": 0.04,
    "netfcaud.3.weight": 0.027,
}
SYNCNET_COMMON_BIASES = ("netfclip.3.bias", "netfcaud.3.bias")  # one vector, so that the towers' outputs are near
SYNCNET_COMMON_STREAM = 9999  # its own noise
SYNCNET_LAYERS = ("0", "4", "8", "11", "14", "18", "3")  # convolutions and linear ones; all others are batch norms
SFD_NORM_SCALES = {"L2Norm3_3.weight": 10.0, "L2Norm4_3.weight": 8.0, "L2Norm5_3.weight": 5.0}
SFD_FIRST_GAIN, SFD_CONF_GAIN = 0.03, 3.0


def generator_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for the Wav2Lip generator, float32, counters int64; shift 0 gives the recipe's own."""
    return _make(shapes, GENERATOR_SEED + seed_shift, _generator_values)


def s3fd_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for S3FD, float32; shift 0 gives the recipe's own."""
    return _make(shapes, S3FD_SEED + seed_shift, _s3fd_values)


def latentsync_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make weights for LatentSync's UNet, its VAE or Whisper's encoder, float32; shift 0 gives the recipe's own.

    Args:
        shapes: by the original's key names, position tables included: they count, but are not made.
        seed_shift: added to the recipe's seed.
    """
    weights = {}
    for position, key in enumerate(sorted(shapes)):
        if not key.endswith(LATENTSYNC_TABLES):
            generator = np.random.Generator(np.random.PCG64([LATENTSYNC_SEED + seed_shift, position]))
            weights[key] = _latentsync_values(key, generator.standard_normal(shapes[key], dtype=np.float32))
    return weights


def syncnet_weights(shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Make weights for SyncNet, float32, counters int64."""
    return _make(shapes, SYNCNET_SEED, _syncnet_values)


def sfd_weights(shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Make weights for the S3FD of SyncNet's pipeline, by its published keys, float32."""
    return _make(shapes, SFD_SEED, _sfd_values)


def latentsync_spread(key: str, shape: Shape) -> tuple[float, float]:
    """Say the mean and the standard deviation of a made-up weight, by the original's key name."""
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith("weight") else (0.0, 0.05)
    gain = next((gain for part, gain in LATENTSYNC_GAINS if part in key), 1.0)
    return 0.0, gain / math.sqrt(math.prod(shape[1:]))


def _latentsync_values(key: str, noise: np.ndarray) -> np.ndarray:
    mean, deviation = latentsync_spread(key, noise.shape)
    return np.float32(mean) + np.float32(deviation) * noise


def _make(shapes: Mapping[str, Shape], seed: int, rule: Rule) -> dict[str, np.ndarray]:
    weights = {}
    for position, key in enumerate(sorted(shapes)):
        if key.endswith("num_batches_tracked"):
            weights[key] = np.array(TRACKED_BATCHES, np.int64)
            continue
        noise = np.random.Generator(np.random.PCG64([seed, position])).standard_normal(shapes[key])
        weights[key] = rule(key, noise).astype(np.float32)
    return weights


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
    return _scaled(noise, GENERATOR_GAINS.get(key, SAME_SIZE_GAIN if keeps_size else OTHER_GAIN))


def _is_transposed(key: str) -> bool:
    first_of_stage = key.startswith("face_decoder_blocks.") and key.endswith(".0.conv_block.0.weight")
    return first_of_stage and not key.startswith("face_decoder_blocks.0.")


def _s3fd_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key in NORM_SCALES:
        return NORM_SCALES[key] * (1 + 0.1 * noise)
    layer, _, kind = key.rpartition(".")
    if kind == "weight":
        return _scaled(noise, S3FD_GAINS.get(layer, OTHER_GAIN))
    values = 0.05 * noise
    if layer in CONF_GAINS_BIASES:
        values[-1] += CONF_GAINS_BIASES[layer][1]
    return values


def _syncnet_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key.endswith("running_mean"):
        return 0.05 * noise
    if key.endswith("running_var"):
        return np.exp(0.1 * noise)
    if key in SYNCNET_COMMON_BIASES:
        common = np.random.Generator(np.random.PCG64([SYNCNET_SEED, SYNCNET_COMMON_STREAM]))
        return 0.3 * common.standard_normal(noise.shape)
    _, layer, kind = key.split(".")
    if noise.ndim == 1:
        if layer in SYNCNET_LAYERS:
            return 0.05 * noise
        return 1 + 0.1 * noise if kind == "weight" else 0.1 * noise
    if key == SYNCNET_LIP_INPUT:
        noise = _smooth_filters(noise)
    elif key not in SYNCNET_GAINS:
        noise = noise - noise.mean(axis=1, keepdims=True)
    return _scaled(noise, SYNCNET_GAINS.get(key, 2.0))


def _smooth_filters(noise: np.ndarray) -> np.ndarray:
    """Average neighbours along rows and columns, and leave little of each filter's mean: pixels are 0..255."""
    for axis in (3, 4):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / 3
    return noise - 0.95 * noise.mean(axis=(2, 3, 4), keepdims=True)


def _sfd_values(key: str, noise: np.ndarray) -> np.ndarray:
    if key in SFD_NORM_SCALES:
        return SFD_NORM_SCALES[key] * (1 + 0.1 * noise)
    if key.endswith(".bias"):
        return 0.05 * noise
    if key == "vgg.0.weight":
        return _scaled(noise, SFD_FIRST_GAIN)
    return _scaled(noise, SFD_CONF_GAIN if key.startswith("conf.") else OTHER_GAIN)


def _scaled(noise: np.ndarray, gain: float) -> np.ndarray:
    return noise * (gain / math.sqrt(math.prod(noise.shape[1:])))
