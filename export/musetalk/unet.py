"""MuseTalk's UNet: diffusers' UNet2DConditionModel at one timestep, whose embedding becomes a part of the biases.

Source: docs/specs/musetalk.md, "UNet".
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from export.shared.arguments import Size
from lipsync_core.musetalk.sizes import FACE_LATENT_CHANNELS, LATENT_SIZE, TOKEN_SIZE
from lipsync_core.vae.sizes import LATENT_CHANNELS, SCALING_FACTOR

CHANNELS: Mapping[Size, tuple[int, ...]] = {"full": (320, 640, 1280, 1280), "small": (32, 64, 96, 96)}
HEADS = 8
TIMESTEP = 0


class NoTimeEmbedding(nn.Module):
    """Takes the place of a time embedding that the biases hold."""

    def forward(self, _sines: Tensor, _condition: None = None) -> None:
        """Return no embedding."""
        return


class MuseTalkUNet(nn.Module):
    """Turns the latents of a face and the sound around its frame into the latents of the generated face."""

    def __init__(self, network: UNet2DConditionModel) -> None:
        """Share the weights of a network, and fold the timestep into its biases in place."""
        super().__init__()
        fold_timestep(network, TIMESTEP)
        self.network = network

    def forward(self, face_latents: Tensor, audio_tokens: Tensor) -> Tensor:
        """Generate faces.

        Args:
            face_latents: Latents of the face with its lower half black, then of the whole face, times the scaling
                factor, float32 [B, 8, 32, 32].
            audio_tokens: float32 [B, 50, 384], their position table added.

        Returns:
            Latents of the generated faces, divided by the scaling factor, float32 [B, 4, 32, 32].
        """
        scaled: Tensor = self.network(face_latents, TIMESTEP, audio_tokens, return_dict=False)[0]
        return scaled / SCALING_FACTOR


def build_unet(size: Size = "full") -> UNet2DConditionModel:
    """Build the network on the meta device, in MuseTalk's size or in that of the tests."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=LATENT_SIZE,
            in_channels=FACE_LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=CHANNELS[size],
            cross_attention_dim=TOKEN_SIZE,
            attention_head_dim=HEADS,  # diffusers' name for the number of heads
        )


def fold_timestep(network: UNet2DConditionModel, timestep: int) -> None:
    """Add the time embedding's part of each residual block to the bias of its first convolution, in place.

    A network that is folded already stays as it is.
    """
    if isinstance(network.time_embedding, NoTimeEmbedding):
        return
    weight = network.conv_in.weight
    with torch.no_grad():
        sines = network.time_proj(torch.tensor([timestep], device=weight.device)).to(weight.dtype)
        embedding = network.time_embedding(sines)
        for block in network.modules():
            if isinstance(block, ResnetBlock2D):
                block.conv1.bias = nn.Parameter(
                    block.conv1.bias + block.time_emb_proj(block.nonlinearity(embedding))[0], requires_grad=False
                )
                block.time_emb_proj = None
    network.time_embedding = NoTimeEmbedding()
