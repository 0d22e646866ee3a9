"""LatentSync's UNet: diffusers' UNetMotionModel with the original's norms, loadable under the original's key names.

Source: reference/latentsync/SPEC.md section (a) and (f).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNetMotionModel
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor, nn

FULL_CHANNELS = (320, 640, 1280, 1280)
SMALL_CHANNELS = (32, 64, 96, 96)  # the recipe's, for tests
SAMPLE_CHANNELS = 13  # noisy latents 4, mask 1, masked latents 4, reference latents 4
LATENT_CHANNELS = 4
AUDIO_CHANNELS = 384
HEADS = 8
MAX_FRAMES = 24  # rows of the motion modules' position tables
LATENT_MULTIPLE = 8  # three halvings
DEEP_LAYER = 1  # of the last up block: its output is what DeepCache's branch 0 keeps

# what diffusers calls it -> what the original calls it, below motion_modules.N
MOTION_KEY_RULES = (
    (r"transformer_blocks\.0\.norm3\.", "transformer_blocks.0.ff_norm."),
    (r"transformer_blocks\.0\.norm1\.", "transformer_blocks.0.norms.0."),
    (r"transformer_blocks\.0\.norm2\.", "transformer_blocks.0.norms.1."),
    (r"transformer_blocks\.0\.attn1\.", "transformer_blocks.0.attention_blocks.0."),
    (r"transformer_blocks\.0\.attn2\.", "transformer_blocks.0.attention_blocks.1."),
    (r"transformer_blocks\.0\.pos_embed\.pe$", "transformer_blocks.0.attention_blocks.0.pos_encoder.pe"),
    (r"(motion_modules\.\d+)\.", r"\1.temporal_transformer."),
)


def original_key(key: str) -> str:
    """Say what the original calls a weight of UNetMotionModel."""
    if ".motion_modules." in key:
        for pattern, name in MOTION_KEY_RULES:
            key = re.sub(pattern, name, key)
    return key


def second_table(key: str) -> str | None:
    """Name the copy of a position table that the original keeps for its second attention, by the original's names."""
    return key.replace("attention_blocks.0.", "attention_blocks.1.") if key.endswith(".pos_encoder.pe") else None


@dataclass
class FrameCount:
    """How many frames each sample of the running call has; the norms below ask for it."""

    frames: int = 1


class NormOverFrames(nn.GroupNorm):
    """Group norm of [(B F), C, h, w] whose statistics span the frames of a sample, as in the original's ResNets."""

    def __init__(self, norm: nn.GroupNorm, count: FrameCount) -> None:
        """Take over a norm's sizes; its weights come with the state dict."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device=norm.weight.device)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        _, channels, height, width = x.shape
        clips = x.reshape(-1, self.count.frames, channels, height, width).transpose(1, 2)
        return super().forward(clips).transpose(1, 2).reshape(-1, channels, height, width)


class NormPerFrame(nn.GroupNorm):
    """Group norm of [B, C, F, h, w] with statistics of each frame, as before the original's motion modules."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        """Take over a norm's sizes; its weights come with the state dict."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device=norm.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        _, channels, frames, height, width = x.shape
        images = x.transpose(1, 2).reshape(-1, channels, height, width)
        return super().forward(images).reshape(-1, frames, channels, height, width).transpose(1, 2)


class LatentSyncUNet(nn.Module):
    """Predicts the noise of a chunk's latents, and hands out what a cached step goes on from."""

    def __init__(self, channels: Sequence[int] = FULL_CHANNELS) -> None:
        """Build the network without memory for its weights: give it a state dict with assign=True."""
        super().__init__()
        with torch.device("meta"):
            self.network = UNetMotionModel(
                in_channels=SAMPLE_CHANNELS,
                out_channels=LATENT_CHANNELS,
                block_out_channels=tuple(channels),
                cross_attention_dim=AUDIO_CHANNELS,
                num_attention_heads=HEADS,
                motion_num_attention_heads=HEADS,
                motion_max_seq_length=MAX_FRAMES,
                use_motion_mid_block=False,
            )
        self.count = FrameCount()
        _override_norms(self.network, self.count)
        self.kept: list[Tensor] = []
        self.network.up_blocks[-1].motion_modules[DEEP_LAYER].register_forward_hook(self._keep)

    def forward(self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run the whole network.

        Args:
            sample: [B, 13, F, h, w]; h and w are multiples of 8, F at most 24.
            timestep: [B, 1].
            audio_tokens: [B, F, 50, 384].

        Returns:
            noise_pred, [B, 4, F, h, w]; deep_features, [B, C, F, h, w], for ShallowUNet.
        """
        self.count.frames = sample.shape[2]
        self.kept.clear()
        noise_pred = self.network(sample, timestep.flatten(), audio_tokens.flatten(0, 1), return_dict=False)[0]
        return noise_pred, split_frames(self.kept.pop(), self.count.frames)

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.kept.append(output)


class ShallowUNet(nn.Module):
    """The UNet's first convolution and last layer alone: a step of DeepCache, interval 3, branch 0."""

    def __init__(self, unet: LatentSyncUNet) -> None:
        """Share the weights of the whole network."""
        super().__init__()
        network, last = unet.network, unet.network.up_blocks[-1]
        self.count = unet.count
        self.conv_in, self.time_proj, self.time_embedding = network.conv_in, network.time_proj, network.time_embedding
        self.resnet, self.attention = last.resnets[-1], last.attentions[-1]
        self.motion_module = last.motion_modules[-1]
        self.conv_norm_out, self.conv_act, self.conv_out = network.conv_norm_out, network.conv_act, network.conv_out

    def forward(self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor, deep_features: Tensor) -> Tensor:
        """Predict the noise from fresh latents and an earlier step's deep_features; shapes as LatentSyncUNet's."""
        frames = self.count.frames = sample.shape[2]
        fresh = self.conv_in(join_frames(sample))
        time = self.time_embedding(self.time_proj(timestep.flatten()).to(sample.dtype))
        x = torch.cat([join_frames(deep_features), fresh], dim=1)
        x = self.resnet(x, time.repeat_interleave(frames, dim=0, output_size=fresh.shape[0]))
        x = self.attention(x, encoder_hidden_states=audio_tokens.flatten(0, 1), return_dict=False)[0]
        x = self.motion_module(x, num_frames=frames)
        return split_frames(self.conv_out(self.conv_act(self.conv_norm_out(x))), frames)


def position_table(channels: int) -> Tensor:
    """Compute the motion modules' position table, [1, 24, channels]; checkpoints hold it, synthetic weights don't."""
    table: Tensor = SinusoidalPositionalEmbedding(channels, MAX_FRAMES).pe
    return table


def join_frames(x: Tensor) -> Tensor:
    """[B, C, F, h, w] -> [(B F), C, h, w]."""
    return x.transpose(1, 2).flatten(0, 1)


def split_frames(x: Tensor, frames: int) -> Tensor:
    """[(B F), C, h, w] -> [B, C, F, h, w]."""
    return x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2)


def _override_norms(network: UNetMotionModel, count: FrameCount) -> None:
    """Swap what the norms see: diffusers normalises ResNets per frame and motion modules over frames."""
    network.conv_norm_out = NormOverFrames(network.conv_norm_out, count)
    for name, module in network.named_modules():
        if re.search(r"\.resnets\.\d+$", name):
            module.norm1, module.norm2 = NormOverFrames(module.norm1, count), NormOverFrames(module.norm2, count)
        elif re.search(r"\.motion_modules\.\d+$", name):
            module.norm = NormPerFrame(module.norm)
