"""Latents drawn from what the VAE's encoder gives, and made ready for its decoder.

Source: docs/specs/vae.md, "Encoder and decoder" and "Scaling".
"""

from __future__ import annotations

import torch

from lipsync_core.overflow import check_no_overflow
from lipsync_core.vae.sizes import LOG_VARIANCE_RANGE, SCALING_FACTOR


def draw_latents(moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Sample scaled latents from the encoder's posterior.

    Args:
        moments: float32 [N, 8, h, w], means, then log variances.
        noise: float32 [N, 4, h, w], standard normal.

    Returns:
        float32 [N, 4, h, w].

    Raises:
        FloatingPointError: The moments hold NaN or infinity.
    """
    check_no_overflow("moments", moments, "from the VAE's encoder")
    mean, log_variance = moments.chunk(2, dim=1)
    return (mean + torch.exp(0.5 * log_variance.clamp(*LOG_VARIANCE_RANGE)) * noise) * SCALING_FACTOR


def unscaled(latents: torch.Tensor) -> torch.Tensor:
    """Undo the scaling, as the decoder expects it, float32 [N, 4, h, w] -> float32 [N, 4, h, w]."""
    return latents / SCALING_FACTOR
