"""What the `latentsync` export knows of its three networks: how each is filled, split into models and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from export.latentsync.graph import Part
from export.latentsync.unet import (
    FULL_CHANNELS,
    SMALL_CHANNELS,
    LatentSyncUNet,
    ShallowUNet,
    original_key,
    position_table,
    second_table,
)
from export.shared.checkpoint import Shapes, check_weights, module_shapes, read_weights
from export.shared.synthetic_weights import latentsync_weights
from export.vae.network import VAE_FILES, VaeDecoder, VaeEncoder, build_vae, rename_vae_keys
from export.whisper.network import WHISPER_FILES, WhisperStates, openai_key, rename_whisper_keys
from lipsync_core.latentsync.sizes import SAMPLE_CHANNELS, TOKEN_SIZE, TOKENS
from lipsync_core.vae.sizes import IMAGE_CHANNELS, LATENT_CHANNELS
from lipsync_core.whisper.sizes import MEL_BANDS, SEGMENT_MEL_FRAMES

TRIAL_SEED = 0
CHUNK_AXES = {
    "sample": {0: "batch", 2: "frames", 3: "8*height", 4: "8*width"},
    "timestep": {0: "batch", 1: "branches"},
    "audio_tokens": {0: "batch", 1: "frames"},
}

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """One set of weights.

    Attributes:
        what: what its checkpoint holds, in words.
        option: the option that takes its checkpoint.
        license_line: printed when real weights are loaded.
        files: names to look for where the checkpoint is a folder.
        build: makes the module without its weights; small or not.
        original: what its checkpoint calls a key of the module.
        rename: gives a checkpoint's weights the names that `original` gives.
        parts: the models that come from it.
    """

    what: str
    option: str
    license_line: str
    files: tuple[str, ...]
    build: Callable[[bool], nn.Module]
    original: Callable[[str], str]
    rename: Callable[[Weights, Mapping[str, str]], Weights]
    parts: Callable[[nn.Module], list[Part]]


def load(network: Network, checkpoint: Path | None, *, small: bool = False, seed_shift: int = 0) -> nn.Module:
    """Build a network and fill it from its checkpoint, or with made-up weights where none is given.

    Raises:
        ValueError: the checkpoint is missing, broken or not this network's.
    """
    module = network.build(small)
    keys = {key: network.original(key) for key in module.state_dict()}
    shapes = original_shapes(network, module)
    if checkpoint is None:
        made = latentsync_weights(shapes, seed_shift)
        weights = {key: torch.from_numpy(value) for key, value in made.items()}
    else:
        path = checkpoint_file(checkpoint, network)
        weights = network.rename(read_weights(path), keys)
        check_weights(path, weights, shapes, network.what, _others(network, small=small))
        _check_tables(path, weights)
    state = {key: _take(weights, name, module, key) for key, name in keys.items()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def original_shapes(network: Network, module: nn.Module) -> dict[str, tuple[int, ...]]:
    """List a network's keys and shapes as its checkpoint has them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in module_shapes(module).items():
        name = network.original(key)
        shapes[name] = shape
        copy = second_table(name)
        if copy:
            shapes[copy] = shape
    return shapes


def checkpoint_file(path: Path, network: Network) -> Path:
    """Find the weights where a folder is given.

    Raises:
        ValueError: the folder holds none.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in network.files if (path / name).is_file()), None)
    if found is None:
        wanted = " or ".join(network.files) or "none: this checkpoint is one file"
        raise ValueError(
            f"{path}: expected a folder with {wanted}, got one without. Give the file with {network.option}"
        )
    return found


def _take(weights: Weights, name: str, module: nn.Module, key: str) -> Tensor:
    """Move one weight out of a checkpoint, in float32; a position table that it lacks comes from its formula."""
    if name in weights:
        return weights.pop(name).float()
    if second_table(name):
        return position_table(module.get_buffer(key).shape[-1])
    return module.state_dict()[key]


def _check_tables(path: Path, weights: Weights) -> None:
    for name, table in weights.items():
        copy = second_table(name)
        if copy and not torch.equal(table, weights[copy]):
            raise ValueError(
                f"{path}: expected {copy} to be a copy of {name}, got another. Give the original checkpoint"
            )


def _others(network: Network, *, small: bool) -> dict[str, tuple[str, Shapes]]:
    with torch.device("meta"):
        return {
            other.what: (other.option, original_shapes(other, other.build(small)))
            for other in NETWORKS
            if other is not network
        }


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(TRIAL_SEED + sum(shape)))


def _chunk(number: int) -> dict[str, Tensor]:
    """So many chunks: one with guidance, three without; two, the number that is exported with, with a branch more.

    With two branches the exporter would find one silent, and keep to that.
    """
    frames, height, width = number + 1, 16, 8 * number
    branches = {1: 2, 2: 3, 3: 1}[number]
    steps = torch.tensor([[float(1 + 250 * i)] * branches for i in range(number)])
    return {
        "sample": _random(number, SAMPLE_CHANNELS, frames, height, width),
        "timestep": steps,
        "audio_tokens": _random(number, frames, TOKENS, TOKEN_SIZE),
    }


def _unet_parts(unet: nn.Module) -> list[Part]:
    assert isinstance(unet, LatentSyncUNet)
    channels = unet.network.conv_in.out_channels

    def with_features(number: int) -> dict[str, Tensor]:
        chunk = _chunk(number)
        branches = chunk["timestep"].shape[1]
        return {**chunk, "deep_features": _random(number, branches, channels, *chunk["sample"].shape[2:])}

    features = {"deep_features": {2: "channels"}}
    axes = {**CHUNK_AXES, "deep_features": {0: "batch", 1: "branches", 3: "frames", 4: "8*height", 5: "8*width"}}
    return [
        Part("latentsync_unet", unet, CHUNK_AXES, ("noise_pred", "deep_features"), _chunk, features),
        Part("latentsync_unet_shallow", ShallowUNet(unet).eval(), axes, ("noise_pred",), with_features, features),
    ]


def _vae_parts(vae: nn.Module) -> list[Part]:
    size = {0: "batch", 2: "8*height", 3: "8*width"}
    latent_size = {0: "batch", 2: "height", 3: "width"}
    return [
        Part(
            "vae_encoder",
            VaeEncoder(vae),
            {"images": size},
            ("moments",),
            lambda number: {"images": _random(number, IMAGE_CHANNELS, 32, 16 * number).clamp(-1, 1)},
        ),
        Part(
            "vae_decoder",
            VaeDecoder(vae),
            {"latents": latent_size},
            ("decoded",),
            lambda number: {"latents": _random(number, LATENT_CHANNELS, 5, 2 * number)},
        ),
    ]


def _whisper_parts(whisper: nn.Module) -> list[Part]:
    shape = (MEL_BANDS, SEGMENT_MEL_FRAMES)
    return [
        Part(
            "whisper_encoder",
            whisper,
            {"mel": {0: "batch"}},
            ("states",),
            lambda number: {"mel": _random(number, *shape) / 2},
        )
    ]


UNET = Network(
    what="LatentSync's UNet",
    option="--unet",
    license_line="licence of the weights: OpenRAIL++, with restrictions of use (LatentSync, ByteDance)",
    files=(),
    build=lambda small: LatentSyncUNet(SMALL_CHANNELS if small else FULL_CHANNELS),
    original=lambda key: original_key(key.removeprefix("network.")),
    rename=lambda weights, _keys: weights,
    parts=_unet_parts,
)
VAE = Network(
    what="the VAE sd-vae-ft-mse",
    option="--vae",
    license_line="licence of the weights: MIT (sd-vae-ft-mse, Stability AI)",
    files=VAE_FILES,
    build=lambda small: build_vae(small=small),
    original=lambda key: key,
    rename=lambda weights, _keys: rename_vae_keys(weights),
    parts=_vae_parts,
)
WHISPER = Network(
    what="Whisper tiny",
    option="--whisper",
    license_line="licence of the weights: MIT (Whisper, OpenAI)",
    files=WHISPER_FILES,
    build=lambda _small: WhisperStates(),
    original=lambda key: openai_key(key.removeprefix("encoder.")),
    rename=rename_whisper_keys,
    parts=_whisper_parts,
)
NETWORKS = (UNET, VAE, WHISPER)
