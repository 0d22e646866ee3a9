"""LatentSync's VAE: diffusers' AutoencoderKL, its two halves as networks of their own.

Source: docs/specs/vae.md, "Encoder and decoder".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

LEVELS = 4  # three halvings: eight pixels to one latent
FULL_SIZE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32}
SMALL_SIZE = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 16}  # the recipe's
VAE_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # of a folder, the first there
# older files' names of the attention's layers -> today's
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_KEY = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(OLD_NAMES)})\.")

ValueT = TypeVar("ValueT")


class VaeEncoder(nn.Module):
    """Images to their latents' posterior."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Share the whole VAE's weights."""
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, images: Tensor) -> Tensor:
        """RGB [B, 3, H, W], -1..1, edges divisible by 8 -> [B, 8, H/8, W/8]: means, then log variances, unscaled."""
        moments: Tensor = self.quant_conv(self.encoder(images))
        return moments


class VaeDecoder(nn.Module):
    """Latents to images."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Share the whole VAE's weights."""
        super().__init__()
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv

    def forward(self, latents: Tensor) -> Tensor:
        """[B, 4, h, w], divided by the scaling factor -> RGB [B, 3, 8h, 8w], about -1..1."""
        decoded: Tensor = self.decoder(self.post_quant_conv(latents))
        return decoded


def build_vae(*, small: bool = False) -> AutoencoderKL:
    """Build the VAE of sd-vae-ft-mse's size or the tests', without memory for its weights."""
    size = SMALL_SIZE if small else FULL_SIZE
    with torch.device("meta"):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * LEVELS, up_block_types=("UpDecoderBlock2D",) * LEVELS, **size
        )


def rename_vae_keys(weights: Mapping[str, ValueT]) -> dict[str, ValueT]:
    """Give the attention's layers of older files the names that diffusers gives them today."""
    return {
        OLD_KEY.sub(lambda found: f"{found[1]}{OLD_NAMES[found[2]]}.", key): value for key, value in weights.items()
    }
