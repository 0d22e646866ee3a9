"""Stable Diffusion's VAE, diffusers' AutoencoderKL, with its two halves as networks of their own.

Source: docs/specs/vae.md, "Encoder and decoder".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from export.shared.arguments import Size
from export.shared.network import Network, ServedModel, random_inputs
from export.shared.synthetic_weights import scaled_weights
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS

LEVELS = 4  # three halvings: 8 pixels to one latent
CONFIGURATIONS: Mapping[Size, Mapping[str, object]] = {
    "full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32},
    "small": {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 16},
}
# Older files' names of the attention's layers -> today's
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_KEY = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(OLD_NAMES)})\.")

ValueT = TypeVar("ValueT")


class VaeEncoder(nn.Module):
    """Encodes images to the distribution of their latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Share the weights of the whole VAE."""
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: float32 RGB [B, 3, H, W], -1 to 1; H and W are divisible by 8.

        Returns:
            float32 [B, 8, H/8, W/8]: four means, then four log variances; not scaled by the scaling factor.
        """
        moments: Tensor = self.quant_conv(self.encoder(images))
        return moments


class VaeDecoder(nn.Module):
    """Decodes latents to images."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Share the weights of the whole VAE."""
        super().__init__()
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents.

        Args:
            latents: float32 [B, 4, h, w], divided by the scaling factor.

        Returns:
            float32 RGB [B, 3, 8h, 8w], about -1 to 1.
        """
        decoded: Tensor = self.decoder(self.post_quant_conv(latents))
        return decoded


def build_vae(size: Size = "full") -> AutoencoderKL:
    """Build the VAE on the meta device, in the size of sd-vae-ft-mse or in that of the tests."""
    with torch.device("meta"):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * LEVELS,
            up_block_types=("UpDecoderBlock2D",) * LEVELS,
            **CONFIGURATIONS[size],
        )


def rename_vae_keys(weights: Mapping[str, ValueT], _keys: Mapping[str, str]) -> dict[str, ValueT]:
    """Give the attention's layers of older files the names that diffusers gives them today."""
    return {
        OLD_KEY.sub(lambda found: f"{found[1]}{OLD_NAMES[found[2]]}.", key): value for key, value in weights.items()
    }


def _models(vae: nn.Module) -> list[ServedModel]:
    return [
        ServedModel(
            name="vae_encoder",
            module=VaeEncoder(vae).eval(),
            free_axes={"images": {0: "batch", 2: "8*height", 3: "8*width"}},
            outputs=("moments",),
            trial=lambda rows: {"images": random_inputs(rows, IMAGE_CHANNELS, 32, 16 * rows).clamp(-1, 1)},
        ),
        ServedModel(
            name="vae_decoder",
            module=VaeDecoder(vae).eval(),
            free_axes={"latents": {0: "batch", 2: "height", 3: "width"}},
            outputs=("decoded",),
            trial=lambda rows: {"latents": random_inputs(rows, LATENT_CHANNELS, 5, 2 * rows)},
        ),
    ]


VAE = Network(
    title="the VAE sd-vae-ft-mse",
    license_line="licence of the weights: MIT (sd-vae-ft-mse, Stability AI)",
    build=build_vae,
    models=_models,
    synthetic=scaled_weights,
    sizes=("full", "small"),
    shared=True,
    folder_files=("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    rename=rename_vae_keys,
)
