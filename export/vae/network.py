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

# Key of CompVis's code -> today's
MODEL_PREFIX = "first_stage_model."  # of the VAE in a whole model
COMPVIS_MARK = "encoder.down.0."
TRAINING = ("loss.", "model_ema.")
COMPVIS_RULES = (
    (r"\.(down|up)\.(\d)\.block\.", r".\1_blocks.\2.resnets."),
    (r"\.down\.(\d)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)

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
    """Give the weights of older and of CompVis's files the names that diffusers gives them today.

    Of a whole Stable Diffusion model only the VAE is kept.
    """
    inside = {
        key.removeprefix(MODEL_PREFIX): value for key, value in weights.items() if key.startswith(MODEL_PREFIX)
    } or weights
    if any(key.startswith(COMPVIS_MARK) for key in inside):
        inside = {_diffusers_key(key): value for key, value in inside.items() if not key.startswith(TRAINING)}
    return {OLD_KEY.sub(lambda found: f"{found[1]}{OLD_NAMES[found[2]]}.", key): value for key, value in inside.items()}


def _diffusers_key(key: str) -> str:
    """Return diffusers' key for a key of CompVis's code, which counts the decoder's levels from the finest."""
    for pattern, name in COMPVIS_RULES:
        key = re.sub(pattern, name, key)
    return re.sub(r"\bup_blocks\.(\d)", lambda found: f"up_blocks.{LEVELS - 1 - int(found[1])}", key)


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
    folder_files=tuple(
        f"{folder}diffusion_pytorch_model{variant}.{suffix}"
        for folder in ("", "vae/")  # of a whole model
        for variant in ("", ".fp16")
        for suffix in ("safetensors", "bin")
    ),
    rename=rename_vae_keys,
)
