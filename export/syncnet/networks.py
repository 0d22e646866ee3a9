"""SyncNet as a network to export: its towers of lips and of sound become one model each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.shared.network import TRIAL_SEED, Network, ServedModel, random_inputs
from export.syncnet.network import LipTower, SoundTower, SyncNet
from export.syncnet.synthetic_weights import syncnet_weights
from lipsync_core.syncnet.crops import CROP_SIZE
from lipsync_core.syncnet.mfcc import COEFFICIENTS, WINDOW_COLUMNS, WINDOW_FRAMES

SPREAD = 10.0  # about the spread of the cepstral coefficients of speech


def _trial_crops(rows: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(TRIAL_SEED)
    size = (rows, WINDOW_FRAMES + rows - 1, CROP_SIZE, CROP_SIZE, 3)
    return {"crops": torch.randint(256, size, dtype=torch.uint8, generator=random)}


def _trial_sounds(rows: int) -> dict[str, Tensor]:
    return {"mfcc": SPREAD * random_inputs(rows, COEFFICIENTS, WINDOW_COLUMNS)}


def _models(module: nn.Module) -> list[ServedModel]:
    assert isinstance(module, SyncNet)
    lips = ServedModel(
        "syncnet_lips", LipTower(module), {"crops": {0: "batch", 1: "frames"}}, ("lip_embeddings",), _trial_crops
    )
    sound = ServedModel(
        "syncnet_sound", SoundTower(module), {"mfcc": {0: "batch"}}, ("sound_embeddings",), _trial_sounds
    )
    return [lips, sound]


SYNCNET = Network(
    title="SyncNet (syncnet_v2.model)",
    license_line="licence of the weights: not stated by their authors (syncnet_python's code is MIT)",
    build=lambda _size: SyncNet(),
    models=_models,
    synthetic=syncnet_weights,
)
