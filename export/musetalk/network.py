"""MuseTalk's UNet and face parser as networks to export."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from export.musetalk.bisenet import BiSeNet, original_key
from export.musetalk.synthetic_weights import TRAINING_HEADS, parser_weights
from export.musetalk.unet import MuseTalkUNet, build_unet
from export.shared.network import Network, ServedModel, Weights, random_inputs
from export.shared.synthetic_weights import scaled_weights
from lipsync_core.musetalk.sizes import (
    FACE_LATENT_CHANNELS,
    LATENT_SIZE,
    PARSER_CLASSES,
    PARSER_SIZE,
    TOKEN_SIZE,
    TOKENS,
)
from lipsync_core.vae.sizes import IMAGE_CHANNELS


def _unet_models(network: nn.Module) -> list[ServedModel]:
    assert isinstance(network, UNet2DConditionModel)
    return [
        ServedModel(
            name="musetalk_unet",
            module=MuseTalkUNet(network).eval(),
            free_axes={"face_latents": {0: "batch"}, "audio_tokens": {0: "batch"}},
            outputs=("latents",),
            trial=_trial_faces,
        )
    ]


def _trial_faces(rows: int) -> dict[str, Tensor]:
    return {
        "face_latents": random_inputs(rows, FACE_LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE),
        "audio_tokens": random_inputs(rows, TOKENS, TOKEN_SIZE),
    }


def _parser_models(module: nn.Module) -> list[ServedModel]:
    return [
        ServedModel(
            name="face_parsing",
            module=module,
            free_axes={"images": {0: "batch"}},
            outputs=("labels",),
            trial=lambda rows: {"images": random_inputs(rows, IMAGE_CHANNELS, PARSER_SIZE, PARSER_SIZE)},
            bounds={"fp32": 1e-4, "fp16": 0.01},  # shares of the labels; measured 0 and 0.001, on noise
        )
    ]


def _build_parser(_size: str) -> BiSeNet:
    with torch.device("meta"):
        return BiSeNet()


def _drop_heads(weights: Weights, _keys: Mapping[str, str]) -> Weights:
    return {key: value for key, value in weights.items() if not key.startswith(TRAINING_HEADS)}


UNET = Network(
    title="MuseTalk's UNet",
    license_line="licence of the weights: any purpose, commercial use included (README; MuseTalk, Tencent Music);"
    " its model card names CreativeML OpenRAIL-M, with restrictions of use",
    build=build_unet,
    models=_unet_models,
    synthetic=scaled_weights,
    sizes=("full", "small"),
)
PARSER = Network(
    title=f"the face parser BiSeNet with {PARSER_CLASSES} classes",
    license_line="licence of the weights: non-commercial research (face-parsing.PyTorch, trained on CelebAMask-HQ)",
    build=_build_parser,
    models=_parser_models,
    synthetic=parser_weights,
    folder_files=("79999_iter.pth", "face-parse-bisent/79999_iter.pth"),
    checkpoint_key=original_key,
    rename=_drop_heads,
)
