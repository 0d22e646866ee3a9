"""Synthetic weights of full size, the same on every machine, to run and measure everything without real ones.

Networks with such weights generate textured noise. The rules of one family of networks are beside that family; here
are the random values, and the rule that UNets, the VAE and Whisper share. Does not depend on torch.

Source: docs/specs/synthetic-weights.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

Shape = tuple[int, ...]
Rule = Callable[[str, np.ndarray], np.ndarray]  # key, standard normal values -> weights of the same shape

TRACKED_BATCHES = 1000
SCALED_SEED = 20250611
TABLES = ("pos_encoder.pe", "positional_embedding")  # position tables keep the values of their formula
GAINS = (  # the first whose text a key contains; 1 if none
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


def make_weights(shapes: Mapping[str, Shape], seed: int, rule: Rule) -> dict[str, np.ndarray]:
    """Make weights by a rule, each key from a random stream of its own.

    Args:
        shapes: Shape by key.
        seed: Random seed.
        rule: Turns a key's standard normal values into its weights.

    Returns:
        Arrays by key, float32; counters of batch normalisations int64.
    """
    weights = {}
    for position, key in enumerate(sorted(shapes)):
        if key.endswith("num_batches_tracked"):
            weights[key] = np.array(TRACKED_BATCHES, np.int64)
            continue
        noise = np.random.Generator(np.random.PCG64([seed, position])).standard_normal(shapes[key])
        weights[key] = rule(key, noise).astype(np.float32)
    return weights


def scaled_by_inputs(noise: np.ndarray, gain: float) -> np.ndarray:
    """Scale the noise of a convolution or a linear layer so that outputs vary `gain` times as much as inputs."""
    return noise * (gain / math.sqrt(math.prod(noise.shape[1:])))


def scaled_weights(shapes: Mapping[str, Shape], seed_shift: int = 0) -> dict[str, np.ndarray]:
    """Make the weights of a UNet, the VAE or Whisper's encoder.

    Args:
        shapes: Shape by key, with the key names of the published checkpoint. Position tables take part in the numbering
            of the random streams, but get no weights.
        seed_shift: Added to the random seed.

    Returns:
        Arrays by key, float32.
    """
    weights = {}
    for position, key in enumerate(sorted(shapes)):
        if not key.endswith(TABLES):
            generator = np.random.Generator(np.random.PCG64([SCALED_SEED + seed_shift, position]))
            mean, deviation = scaled_spread(key, shapes[key])
            noise = generator.standard_normal(shapes[key], dtype=np.float32)
            weights[key] = np.float32(mean) + np.float32(deviation) * noise
    return weights


def scaled_spread(key: str, shape: Shape) -> tuple[float, float]:
    """Return the mean and the standard deviation of one of `scaled_weights`."""
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith("weight") else (0.0, 0.05)
    gain = next((gain for part, gain in GAINS if part in key), 1.0)
    return 0.0, gain / math.sqrt(math.prod(shape[1:]))
