"""LatentSync's UNet as a network to export, and the two models that it becomes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.latentsync.unet import CHANNELS, LatentSyncUNet, ShallowUNet, original_key, second_table
from export.shared.network import Network, ServedModel, random_inputs
from export.shared.synthetic_weights import scaled_weights
from lipsync_core.latentsync.sizes import SAMPLE_CHANNELS, TOKEN_SIZE, TOKENS

CHUNK_AXES = {
    "sample": {0: "batch", 2: "frames", 3: "8*height", 4: "8*width"},
    "timestep": {0: "batch", 1: "branches"},
    "audio_tokens": {0: "batch", 1: "frames"},
}
FEATURE_AXES = {0: "batch", 1: "branches", 3: "frames", 4: "8*height", 5: "8*width"}
OPEN_FEATURE_AXES = {"deep_features": {2: "channels"}}
# With one or two branches, the exporter would take their number as fixed, so two rows are exported with three
TRIAL_BRANCHES = {1: 2, 2: 3, 3: 1}


def _trial_chunks(rows: int) -> dict[str, Tensor]:
    frames, height, width = rows + 1, 16, 8 * rows
    branches = TRIAL_BRANCHES[rows]
    return {
        "sample": random_inputs(rows, SAMPLE_CHANNELS, frames, height, width),
        "timestep": torch.tensor([[float(1 + 250 * i)] * branches for i in range(rows)]),
        "audio_tokens": random_inputs(rows, frames, TOKENS, TOKEN_SIZE),
    }


def _models(unet: nn.Module) -> list[ServedModel]:
    assert isinstance(unet, LatentSyncUNet)
    channels = unet.network.conv_in.out_channels

    def trial_with_features(rows: int) -> dict[str, Tensor]:
        chunks = _trial_chunks(rows)
        branches, sizes = chunks["timestep"].shape[1], chunks["sample"].shape[2:]
        return {**chunks, "deep_features": random_inputs(rows, branches, channels, *sizes)}

    return [
        ServedModel(
            name="latentsync_unet",
            module=unet,
            free_axes=CHUNK_AXES,
            outputs=("noise_pred", "deep_features"),
            trial=_trial_chunks,
            open_axes=OPEN_FEATURE_AXES,
        ),
        ServedModel(
            name="latentsync_unet_shallow",
            module=ShallowUNet(unet).eval(),
            free_axes={**CHUNK_AXES, "deep_features": FEATURE_AXES},
            outputs=("noise_pred",),
            trial=trial_with_features,
            open_axes=OPEN_FEATURE_AXES,
        ),
    ]


UNET = Network(
    title="LatentSync's UNet",
    license_line="licence of the weights: OpenRAIL++, with restrictions of use (LatentSync, ByteDance)",
    build=lambda size: LatentSyncUNet(CHANNELS[size]),
    models=_models,
    synthetic=scaled_weights,
    sizes=("full", "small"),
    checkpoint_key=lambda key: original_key(key.removeprefix("network.")),
    copy_key=second_table,
    is_computed=lambda key: key.endswith(".pos_encoder.pe"),
    folder_files=("latentsync_unet.pt",),
)
