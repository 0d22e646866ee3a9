"""Full-size networks with made-up weights, built on the device that is measured, and run there in several ways.

Nothing of them passes through the CPU's memory. Needs torch and diffusers, not the exporters' other packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export.latentsync.unet import (
    FULL_CHANNELS,
    SMALL_CHANNELS,
    LatentSyncUNet,
    ShallowUNet,
    original_key,
    position_table,
)
from export.shared.batch_norms import fold_batch_norms
from export.shared.synthetic_weights import generator_weights, latentsync_spread
from export.vae.network import VaeDecoder, VaeEncoder, build_vae
from export.wav2lip.generator import Wav2LipGenerator
from lipsync_core.latentsync.sizes import MAX_BRANCHES, SAMPLE_CHANNELS, TOKEN_SIZE, TOKENS
from lipsync_core.vae.sizes import latent_side

SEED = 0
TABLE = ".pe"  # what the position tables' keys end in


@dataclass(frozen=True)
class Size:
    """How large networks and inputs are."""

    small: bool
    frames: int

    @property
    def channels(self) -> tuple[int, ...]:
        """The UNet's."""
        return SMALL_CHANNELS if self.small else FULL_CHANNELS


def build_unet(size: Size, device: torch.device) -> LatentSyncUNet:
    """Make the UNet and fill it where it lies."""
    unet = LatentSyncUNet(size.channels).to_empty(device=device)
    fill(unet, lambda key: original_key(key.removeprefix("network.")))
    return unet.eval().requires_grad_(False)


def copy_of(unet: LatentSyncUNet, size: Size, device: torch.device) -> LatentSyncUNet:
    """Copy the UNet onto another device."""
    copy = LatentSyncUNet(size.channels)
    copy.load_state_dict({key: value.to(device, copy=True) for key, value in unet.state_dict().items()}, assign=True)
    return copy.eval().requires_grad_(False)


def build_shallow(unet: LatentSyncUNet) -> ShallowUNet:
    """Make the shallow step, which shares the UNet's weights."""
    return ShallowUNet(unet).eval().requires_grad_(False)


def build_vae_halves(size: Size, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Make the VAE's encoder and decoder and fill them where they lie."""
    vae = build_vae(small=size.small).to_empty(device=device)
    fill(vae, str)
    vae.eval().requires_grad_(False)
    return VaeEncoder(vae).eval(), VaeDecoder(vae).eval()


def build_generator(device: torch.device) -> nn.Module:
    """Make Wav2Lip's generator as it is exported; its weights are few."""
    generator = Wav2LipGenerator()
    shapes = {key: tuple(value.shape) for key, value in generator.state_dict().items()}
    weights = generator_weights(shapes)
    generator.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()})
    return fold_batch_norms(generator).to(device).requires_grad_(False)


def fill(module: nn.Module, original: Any) -> None:
    """Draw a module's weights as the recipe spreads them, from the device's own generator: other values than its."""
    generator: torch.Generator | None = None
    for key, value in module.state_dict().items():
        if key.endswith(TABLE):
            value.copy_(position_table(value.shape[-1]))
            continue
        if generator is None:
            generator = torch.Generator(value.device).manual_seed(SEED)
        mean, deviation = latentsync_spread(original(key), tuple(value.shape))
        value.normal_(mean, deviation, generator=generator)


def chunk_inputs(
    size: Size, edge: int, chunks: int, device: torch.device, *, branches: int = MAX_BRANCHES, deep: bool = False
) -> list[Tensor]:
    """Make a UNet's inputs for faces of `edge` pixels; with deep features where it is the shallow step."""
    side = latent_side(edge)
    sample = random(device, chunks, SAMPLE_CHANNELS, size.frames, side, side)
    timestep = torch.full((chunks, branches), 501.0, device=device)
    audio = random(device, chunks, size.frames, TOKENS, TOKEN_SIZE)
    features = [random(device, chunks, branches, size.channels[0], size.frames, side, side)] if deep else []
    return [sample, timestep, audio, *features]


def generator_inputs(rows: int, device: torch.device) -> list[Tensor]:
    """Make mel windows and faces."""
    return [random(device, rows, 1, 80, 16), random(device, rows, 6, 96, 96).sigmoid()]


def random(device: torch.device, *shape: int) -> Tensor:
    """Make standard normal values, the same for the same shape on one device."""
    return torch.randn(*shape, device=device, generator=torch.Generator(device).manual_seed(SEED))


def count_flops(network: nn.Module, inputs: Sequence[Tensor]) -> float:
    """Count what one call of a network on the meta device takes, in FLOP; products, convolutions and attention."""
    with torch.inference_mode(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(*(value.to("meta") for value in inputs))
    return float(counter.get_total_flops())
