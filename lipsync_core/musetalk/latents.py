"""Latents of faces for the UNet, drawn with noise that depends on nothing but the seed and the frame.

Source: docs/specs/musetalk.md, "Crop and latents".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.musetalk.sizes import IMAGES_PER_FACE, LATENT_SIZE
from lipsync_core.overflow import overflow_error
from lipsync_core.vae.sizes import LATENT_CHANNELS, LOG_VARIANCE_RANGE, SCALING_FACTOR


def draw_noise(seed: int, frame_numbers: np.ndarray) -> np.ndarray:
    """Draw the noise of some frames: a frame's noise is the same in every chunk, job and order.

    The generator is numpy's PCG64, seeded with SeedSequence(seed, spawn_key=(frame number,)).

    Args:
        seed: 0 or more.
        frame_numbers: int [F], 0 or more.

    Returns:
        float32 [2 F, 4, 32, 32], standard normal: each frame's masked face, then its whole face.

    Raises:
        ValueError: The seed or a frame number is negative.
    """
    if seed < 0 or (frame_numbers < 0).any():
        raise ValueError(f"seed, frame_numbers: expected 0 or more, got {seed}, {frame_numbers.min(initial=0)}")
    shape = (IMAGES_PER_FACE, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    drawn = [
        np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,)))).standard_normal(
            shape, np.float32
        )
        for number in frame_numbers.tolist()
    ]
    return np.concatenate(drawn) if drawn else np.zeros((0, *shape[1:]), np.float32)


def face_latents(moments: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Sample the latents of faces from the encoder's posterior.

    Args:
        moments: float32 [2 F, 8, 32, 32], means, then log variances: each face masked, then whole.
        noise: float32 [2 F, 4, 32, 32], standard normal.

    Returns:
        float32 [F, 8, 32, 32], scaled: the masked face's latents, then the whole face's.

    Raises:
        ValueError: There is not one row of noise for each image.
        FloatingPointError: The moments hold NaN or infinity.
    """
    check_rows("noise", noise, len(moments), "images")
    if not np.isfinite(moments).all():
        raise overflow_error("moments", "from the VAE's encoder")
    mean, log_variance = moments[:, :LATENT_CHANNELS], moments[:, LATENT_CHANNELS:]
    deviation = np.exp(np.float32(0.5) * np.clip(log_variance, *LOG_VARIANCE_RANGE))
    latents = (mean + deviation * noise) * np.float32(SCALING_FACTOR)
    return np.asarray(latents.reshape(-1, IMAGES_PER_FACE * LATENT_CHANNELS, *latents.shape[2:]), np.float32)
