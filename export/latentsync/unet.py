"""LatentSync's UNet: diffusers' UNetMotionModel with the original's norms; loads the original's checkpoints.

Source: docs/specs/latentsync.md, "UNet" and "DeepCache".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNetMotionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from export.shared.arguments import Size
from lipsync_core.latentsync.sizes import MAX_FRAMES, SAMPLE_CHANNELS, TOKEN_SIZE
from lipsync_core.vae.sizes import LATENT_CHANNELS

CHANNELS: Mapping[Size, tuple[int, ...]] = {"full": (320, 640, 1280, 1280), "small": (32, 64, 96, 96)}
HEADS = 8
DEEP_LAYER = 1  # layer of the last up block whose output DeepCache's branch 0 keeps

# Key of diffusers -> key of the original, below motion_modules.N
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
    """Return the original's key for a key of UNetMotionModel."""
    if ".motion_modules." in key:
        for pattern, name in MOTION_KEY_RULES:
            key = re.sub(pattern, name, key)
    return key


def second_table(key: str) -> str | None:
    """Return the key of the copy of a position table that the original keeps for its second attention, if it is one."""
    return key.replace("attention_blocks.0.", "attention_blocks.1.") if key.endswith(".pos_encoder.pe") else None


@dataclass
class RowCount:
    """Meaning of the rows [(N B F)] in the running call, for the modules below.

    Attributes:
        branches: N, branches of classifier-free guidance.
        frames: F, frames of a chunk.
    """

    branches: int = 1
    frames: int = 1

    def read(self, sample: Tensor, timestep: Tensor) -> tuple[int, int]:
        """Read both from a call's inputs, and return them."""
        self.branches, self.frames = timestep.shape[1], sample.shape[2]
        return self.branches, self.frames


class NormOverFrames(nn.GroupNorm):
    """Group norm of [(B F), C, h, w] with statistics over all frames of a sample, as in the original's ResNets."""

    def __init__(self, norm: nn.GroupNorm, count: RowCount) -> None:
        """Copy the sizes of a norm; the weights come with the state dict."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device=norm.weight.device)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [(B F), C, h, w]."""
        _, channels, height, width = x.shape
        clips = x.reshape(-1, self.count.frames, channels, height, width).transpose(1, 2)
        return super().forward(clips).transpose(1, 2).reshape(-1, channels, height, width)


class NormPerFrame(nn.GroupNorm):
    """Group norm of [B, C, F, h, w] with statistics of each frame, as before the original's motion modules."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        """Copy the sizes of a norm; the weights come with the state dict."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device=norm.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, F, h, w]."""
        _, channels, frames, height, width = x.shape
        images = x.transpose(1, 2).reshape(-1, channels, height, width)
        return super().forward(images).reshape(-1, frames, channels, height, width).transpose(1, 2)


class OnceForAllBranches:
    """Runs modules whose rows are the same in all branches on the first branch only, with hooks."""

    def __init__(self, count: RowCount) -> None:
        """Read the number of branches from `count` in each call."""
        self.count = count

    def hook(self, module: nn.Module) -> None:
        """Make a module run on the first branch only."""
        module.register_forward_pre_hook(self._take, with_kwargs=True)
        module.register_forward_hook(self._repeat)

    def _take(
        self, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(map(self._first, inputs)), {name: self._first(value) for name, value in named.items()}

    def _first(self, value: Any) -> Any:
        return first_branch(value, self.count.branches) if isinstance(value, Tensor) else value

    def _repeat(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return repeat_branch(output, self.count.branches)


class AudioAttention:
    """Attention to the audio tokens in the first branch; the other branches get silence, tokens of zeros.

    Zero tokens have zero keys and values, as these layers have no bias. So for any attention scores, the output for
    silence is the bias of the attention's last layer.
    """

    def __init__(self, count: RowCount) -> None:
        """Use diffusers' own attention for the branch with audio."""
        self.count = count
        self.attend = AttnProcessor2_0()

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        """Attend from hidden states [(N R), positions, C] to audio tokens [R, 50, C].

        Returns:
            New hidden states, [(N R), positions, C].
        """
        branches = hidden_states.reshape(self.count.branches, -1, *hidden_states.shape[1:])
        with_audio = self.attend(attention, branches[0], encoder_hidden_states)
        silent = attention.to_out[0].bias.to(with_audio.dtype).expand_as(branches)[1:]
        return torch.cat([with_audio[None], silent]).flatten(0, 1)


class LatentSyncUNet(nn.Module):
    """Predicts the noise in the latents of a chunk, and returns the features that a shallow step starts from.

    Branches are those of classifier-free guidance: the first is conditional on the audio, the second, if there is one,
    is unconditional (silence).
    """

    def __init__(self, channels: Sequence[int] = CHANNELS["full"]) -> None:
        """Build the network on the meta device, but for its position tables; load a state dict with assign=True."""
        super().__init__()
        with torch.device("meta"):
            self.network = UNetMotionModel(
                in_channels=SAMPLE_CHANNELS,
                out_channels=LATENT_CHANNELS,
                block_out_channels=tuple(channels),
                cross_attention_dim=TOKEN_SIZE,
                num_attention_heads=HEADS,
                motion_num_attention_heads=HEADS,
                motion_max_seq_length=MAX_FRAMES,
                use_motion_mid_block=False,
            )
        _fill_position_tables(self.network)
        self.count = RowCount()
        _override_norms(self.network, self.count)
        _override_attentions(self.network, self.count)
        for module in _before_audio(self.network):
            OnceForAllBranches(self.count).hook(module)
        self.kept: list[Tensor] = []
        self.network.up_blocks[-1].motion_modules[DEEP_LAYER].register_forward_hook(self._keep)

    def forward(self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run the whole network.

        Args:
            sample: float32 [B, 13, F, h, w]; h and w are multiples of 8, F is at most 24.
            timestep: float32 [B, N], the same value for each of the branches; N is 1 or 2.
            audio_tokens: float32 [B, F, 50, 384].

        Returns:
            noise_pred, float32 [B, N, 4, F, h, w]; deep_features, float32 [B, N, C, F, h, w], for ShallowUNet.
        """
        branches, frames = self.count.read(sample, timestep)
        self.kept.clear()
        rows = repeat_branch(sample, branches)
        noise_pred = self.network(rows, timestep.T.flatten(), audio_tokens.flatten(0, 1), return_dict=False)[0]
        deep_features = split_frames(self.kept.pop(), frames)
        return split_branches(noise_pred, branches), split_branches(deep_features, branches)

    def _keep(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.kept.append(output)


class ShallowUNet(nn.Module):
    """The UNet's first convolution and last layer only: a cached step of DeepCache, branch 0."""

    def __init__(self, unet: LatentSyncUNet) -> None:
        """Share the weights of the whole UNet."""
        super().__init__()
        network, last = unet.network, unet.network.up_blocks[-1]
        self.count = unet.count
        self.conv_in, self.time_proj, self.time_embedding = network.conv_in, network.time_proj, network.time_embedding
        self.resnet, self.attention = last.resnets[-1], last.attentions[-1]
        self.motion_module = last.motion_modules[-1]
        self.conv_norm_out, self.conv_act, self.conv_out = network.conv_norm_out, network.conv_act, network.conv_out

    def forward(self, sample: Tensor, timestep: Tensor, audio_tokens: Tensor, deep_features: Tensor) -> Tensor:
        """Predict the noise from the current latents and the deep features of an earlier step.

        Args:
            sample: As in LatentSyncUNet.
            timestep: As in LatentSyncUNet.
            audio_tokens: As in LatentSyncUNet.
            deep_features: Second output of LatentSyncUNet, float32 [B, N, C, F, h, w].

        Returns:
            noise_pred, float32 [B, N, 4, F, h, w].
        """
        branches, frames = self.count.read(sample, timestep)
        fresh = self.conv_in(join_frames(repeat_branch(sample, branches)))
        time = self.time_embedding(self.time_proj(timestep.T.flatten()).to(sample.dtype))
        x = torch.cat([join_frames(join_branches(deep_features)), fresh], dim=1)
        x = self.resnet(x, time.repeat_interleave(frames, dim=0, output_size=fresh.shape[0]))
        x = self.attention(x, encoder_hidden_states=audio_tokens.flatten(0, 1), return_dict=False)[0]
        x = self.motion_module(x, num_frames=frames)
        noise_pred = split_frames(self.conv_out(self.conv_act(self.conv_norm_out(x))), frames)
        return split_branches(noise_pred, branches)


def position_table(channels: int) -> Tensor:
    """Compute a motion module's position table, float32 [1, 24, channels]; synthetic weights do not include it."""
    table: Tensor = SinusoidalPositionalEmbedding(channels, MAX_FRAMES).pe
    return table


def first_branch(x: Tensor, branches: int) -> Tensor:
    """Take the first branch: [(N R), ...] -> [R, ...]."""
    return x.reshape(branches, -1, *x.shape[1:])[0]


def repeat_branch(x: Tensor, branches: int) -> Tensor:
    """Repeat one branch: [R, ...] -> [(N R), ...]."""
    return x.expand(branches, *x.shape).flatten(0, 1)


def join_branches(x: Tensor) -> Tensor:
    """Put branches into rows: [B, N, ...] -> [(N B), ...]."""
    return x.transpose(0, 1).flatten(0, 1)


def split_branches(x: Tensor, branches: int) -> Tensor:
    """Take branches out of rows: [(N B), ...] -> [B, N, ...]."""
    return x.reshape(branches, -1, *x.shape[1:]).transpose(0, 1)


def join_frames(x: Tensor) -> Tensor:
    """Put frames into rows: [B, C, F, h, w] -> [(B F), C, h, w]."""
    return x.transpose(1, 2).flatten(0, 1)


def split_frames(x: Tensor, frames: int) -> Tensor:
    """Take frames out of rows: [(B F), C, h, w] -> [B, C, F, h, w]."""
    return x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2)


def _fill_position_tables(network: UNetMotionModel) -> None:
    for module in network.modules():
        if isinstance(module, SinusoidalPositionalEmbedding):
            module.pe = position_table(module.pe.shape[-1])


def _override_norms(network: UNetMotionModel, count: RowCount) -> None:
    """Swap the statistics: diffusers normalises ResNets per frame and motion modules over frames."""
    network.conv_norm_out = NormOverFrames(network.conv_norm_out, count)
    for name, module in network.named_modules():
        if re.search(r"\.resnets\.\d+$", name):
            module.norm1, module.norm2 = NormOverFrames(module.norm1, count), NormOverFrames(module.norm2, count)
        elif re.search(r"\.motion_modules\.\d+$", name):
            module.norm = NormPerFrame(module.norm)


def _override_attentions(network: UNetMotionModel, count: RowCount) -> None:
    """Replace the second attention of all spatial transformers, which is the one to the audio."""
    for name, module in network.named_modules():
        if re.search(r"\.attentions\.\d+\.transformer_blocks\.\d+\.attn2$", name):
            module.set_processor(AudioAttention(count))


def _before_audio(network: UNetMotionModel) -> list[nn.Module]:
    """List the costly modules before the first attention to audio, where the branches become different."""
    first = network.down_blocks[0]
    return [network.conv_in, first.resnets[0], first.attentions[0].transformer_blocks[0].attn1]
