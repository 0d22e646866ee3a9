"""Sizes fixed by the VAE's weights. Does not depend on torch.

Source: docs/specs/vae.md.
"""

from __future__ import annotations

from lipsync_core.audio.rates import exact_div

IMAGE_CHANNELS = 3  # RGB
LATENT_CHANNELS = 4
PIXELS_PER_LATENT = 8  # along each edge
SCALING_FACTOR = 0.18215  # latents are the VAE's output times this
LOG_VARIANCE_RANGE = (-30.0, 20.0)  # diffusers' for this VAE


def latent_side(pixels: int) -> int:
    """Convert an edge length in pixels to latents.

    Raises:
        ValueError: The edge is not a multiple of 8 pixels.
    """
    return exact_div(pixels, PIXELS_PER_LATENT)
