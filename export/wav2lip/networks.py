"""Wav2Lip's generator and the face detector S3FD as networks to export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.shared.network import TRIAL_SEED, Bounds, Network, ServedModel
from export.wav2lip.generator import Wav2LipGenerator
from export.wav2lip.s3fd import S3FD
from export.wav2lip.synthetic_weights import generator_weights, s3fd_weights


def _trial_windows(rows: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(TRIAL_SEED)
    mel = 8 * torch.rand(rows, 1, 80, 16, generator=random) - 4
    return {"mel": mel, "face": torch.rand(rows, 6, 96, 96, generator=random)}


def _trial_images(rows: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(TRIAL_SEED)
    size = (rows, 30 + 33 * rows, 50 + 33 * rows, 3)
    return {"images": torch.randint(256, size, dtype=torch.uint8, generator=random)}


def _generator_models(module: nn.Module) -> list[ServedModel]:
    free_axes = {"mel": {0: "batch"}, "face": {0: "batch"}}
    return [ServedModel("wav2lip_generator", module, free_axes, ("drawn",), _trial_windows)]


def _detector_models(module: nn.Module) -> list[ServedModel]:
    free_axes = {"images": {0: "batch", 1: "height", 2: "width"}}
    bounds: Bounds = {"fp32": 3e-4, "fp16": 0.05}  # the outputs of its heads differ in size
    return [ServedModel("s3fd", module, free_axes, ("logits", "offsets"), _trial_images, bounds=bounds)]


GENERATOR = Network(
    title="the Wav2Lip generator",
    license_line="licence of the weights: personal, research and non-commercial use (Wav2Lip, trained on LRS2)",
    build=lambda _size: Wav2LipGenerator(),
    models=_generator_models,
    synthetic=generator_weights,
)
DETECTOR = Network(
    title="the S3FD face detector",
    license_line="licence of the weights: see the face_alignment project (S3FD, trained on WIDER FACE)",
    build=lambda _size: S3FD(),
    models=_detector_models,
    synthetic=s3fd_weights,
)
