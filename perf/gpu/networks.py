"""Builds full-size networks with synthetic weights on the device that is measured, and makes inputs for them.

Weights never pass through the CPU's memory. Needs torch and diffusers, but no other package of the exporters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export.latentsync.unet import (
    CHANNELS,
    LatentSyncUNet,
    ShallowUNet,
    original_key,
    position_table,
)
from export.shared.batch_norms import fold_batch_norms
from export.shared.synthetic_weights import scaled_spread
from export.vae.network import VaeDecoder, VaeEncoder, build_vae
from export.wav2lip.generator import Wav2LipGenerator
from export.wav2lip.synthetic_weights import generator_weights
from lipsync_core.latentsync.sizes import MAX_BRANCHES, SAMPLE_CHANNELS, TOKEN_SIZE, TOKENS
from lipsync_core.vae.sizes import latent_side
from lipsync_core.wav2lip.faces import FACE_SIZE
from lipsync_core.wav2lip.mel import MEL_BANDS, WINDOW_MEL_FRAMES

SEED = 0
GENERATOR_CHANNELS = 6  # of Wav2Lip's faces: masked face and reference face, RGB each
TABLE = ".pe"  # suffix of the position tables' keys


@dataclass(frozen=True)
class Size:
    """The size of networks and inputs.

    Attributes:
        small: Whether the networks are the small ones of the tests.
        frames: The number of frames per chunk.
    """

    small: bool
    frames: int

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the UNet, by level."""
        return CHANNELS["small" if self.small else "full"]


def build_unet(size: Size, device: torch.device) -> LatentSyncUNet:
    """Build the UNet with synthetic weights on a device."""
    unet = LatentSyncUNet(size.channels).to_empty(device=device)
    fill(unet, lambda key: original_key(key.removeprefix("network.")))
    return unet.eval().requires_grad_(False)


def copy_of(unet: LatentSyncUNet, size: Size, device: torch.device) -> LatentSyncUNet:
    """Copy the UNet to another device."""
    copy = LatentSyncUNet(size.channels)
    copy.load_state_dict({key: value.to(device, copy=True) for key, value in unet.state_dict().items()}, assign=True)
    return copy.eval().requires_grad_(False)


def build_shallow(unet: LatentSyncUNet) -> ShallowUNet:
    """Build the shallow step, which shares the UNet's weights."""
    return ShallowUNet(unet).eval().requires_grad_(False)


def build_vae_halves(size: Size, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Build the VAE's encoder and decoder with synthetic weights on a device."""
    vae = build_vae("small" if size.small else "full").to_empty(device=device)
    fill(vae, str)
    vae.eval().requires_grad_(False)
    return VaeEncoder(vae).eval(), VaeDecoder(vae).eval()


def build_generator(device: torch.device) -> nn.Module:
    """Build Wav2Lip's generator as it is exported, with synthetic weights."""
    generator = Wav2LipGenerator()
    shapes = {key: tuple(value.shape) for key, value in generator.state_dict().items()}
    weights = generator_weights(shapes)
    generator.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()})
    return fold_batch_norms(generator).to(device).requires_grad_(False)


def fill(module: nn.Module, original: Callable[[str], str]) -> None:
    """Fill a module with synthetic weights, random numbers of the device.

    They have the spread of the recipe of export/, but other values.

    Args:
        module: The module, on its device.
        original: Turns a key of the module into that of the published checkpoint.
    """
    generator: torch.Generator | None = None
    for key, value in module.state_dict().items():
        if key.endswith(TABLE):
            value.copy_(position_table(value.shape[-1]))
            continue
        if generator is None:
            generator = torch.Generator(value.device).manual_seed(SEED)
        mean, deviation = scaled_spread(original(key), tuple(value.shape))
        value.normal_(mean, deviation, generator=generator)


def chunk_inputs(
    size: Size, edge: int, chunks: int, device: torch.device, *, branches: int = MAX_BRANCHES, deep: bool = False
) -> list[Tensor]:
    """Make inputs of the UNet.

    Args:
        size: The size of the network.
        edge: Edge length of the faces, in pixels.
        chunks: The batch.
        device: Where the tensors are made.
        branches: 2 with guidance, 1 without.
        deep: Whether to add the deep features, which the shallow step takes.

    Returns:
        sample [chunks, 13, F, edge / 8, edge / 8], timestep [chunks, branches], audio_tokens [chunks, F, 50, 384], and
        deep_features [chunks, branches, C, F, edge / 8, edge / 8] if asked for; all float32.
    """
    side = latent_side(edge)
    sample = random(device, chunks, SAMPLE_CHANNELS, size.frames, side, side)
    timestep = torch.full((chunks, branches), 501.0, device=device)
    audio = random(device, chunks, size.frames, TOKENS, TOKEN_SIZE)
    features = [random(device, chunks, branches, size.channels[0], size.frames, side, side)] if deep else []
    return [sample, timestep, audio, *features]


def generator_inputs(rows: int, device: torch.device) -> list[Tensor]:
    """Make mel windows [rows, 1, 80, 16] and faces [rows, 6, 96, 96] for Wav2Lip's generator, float32."""
    mel_windows = random(device, rows, 1, MEL_BANDS, WINDOW_MEL_FRAMES)
    return [mel_windows, random(device, rows, GENERATOR_CHANNELS, FACE_SIZE, FACE_SIZE).sigmoid()]


def random(device: torch.device, *shape: int) -> Tensor:
    """Return standard normal values, float32; the same for the same shape on the same device."""
    return torch.randn(*shape, device=device, generator=torch.Generator(device).manual_seed(SEED))


def count_flops(network: nn.Module, inputs: Sequence[Tensor]) -> float:
    """Count the floating-point operations of one call, in products, convolutions and attention.

    Args:
        network: A network on the meta device.
        inputs: Its inputs, on any device; only their shapes count.
    """
    with torch.inference_mode(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(*(value.to("meta") for value in inputs))
    return float(counter.get_total_flops())
