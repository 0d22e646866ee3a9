"""Sizes fixed by LatentSync's UNet. Does not depend on torch.

Source: docs/specs/latentsync.md.
"""

from __future__ import annotations

from lipsync_core.vae.sizes import LATENT_CHANNELS
from lipsync_core.whisper.sizes import STATE_SIZE, STATES

MASK_CHANNELS = 1
SAMPLE_CHANNELS = 3 * LATENT_CHANNELS + MASK_CHANNELS  # 13: noisy latents, mask, masked latents, reference latents
POSITIONS_BEFORE, POSITIONS_AFTER = 4, 6  # audio positions around a frame; its own counts as the first after
TOKENS = (POSITIONS_BEFORE + POSITIONS_AFTER) * STATES  # 50 audio tokens per frame
TOKEN_SIZE = STATE_SIZE
MAX_FRAMES = 24  # per chunk: the temporal layers have no more positions
MAX_BRANCHES = 2  # of classifier-free guidance: conditional, unconditional
RESOLUTION_MULTIPLE = 64  # pixels: the VAE divides by 8, and the UNet halves the latents three times
