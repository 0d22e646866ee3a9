"""The Wav2Lip generator, which turns a mel window and a half-masked face into the lip-synced face.

The keys of its state dict are those of the published checkpoints, which load strictly.

Source: docs/specs/wav2lip.md, "Generator"; "A Lip Sync Expert Is All You Need", Prajwal et al., 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Block(NamedTuple):
    """One convolution with batch normalisation; a single number is for both axes."""

    inputs: int
    outputs: int
    kernel: int = 3
    stride: int | tuple[int, int] = 1
    padding: int = 1
    residual: bool = False
    transposed: bool = False


def _same(channels: int) -> Block:
    return Block(channels, channels, residual=True)


def _up(inputs: int, outputs: int) -> Block:
    return Block(inputs, outputs, stride=2, transposed=True)


FACE_ENCODER = (
    (Block(6, 16, kernel=7, padding=3),),
    (Block(16, 32, stride=2), _same(32), _same(32)),
    (Block(32, 64, stride=2), _same(64), _same(64), _same(64)),
    (Block(64, 128, stride=2), _same(128), _same(128)),
    (Block(128, 256, stride=2), _same(256), _same(256)),
    (Block(256, 512, stride=2), _same(512)),
    (Block(512, 512, padding=0), Block(512, 512, kernel=1, padding=0)),
)
AUDIO_ENCODER = (
    Block(1, 32),
    _same(32),
    _same(32),
    Block(32, 64, stride=(3, 1)),
    _same(64),
    _same(64),
    Block(64, 128, stride=3),
    _same(128),
    _same(128),
    Block(128, 256, stride=(3, 2)),
    _same(256),
    Block(256, 512, padding=0),
    Block(512, 512, kernel=1, padding=0),
)
FACE_DECODER = (
    (Block(512, 512, kernel=1, padding=0),),
    (Block(1024, 512, padding=0, transposed=True), _same(512)),
    (_up(1024, 512), _same(512), _same(512)),
    (_up(768, 384), _same(384), _same(384)),
    (_up(512, 256), _same(256), _same(256)),
    (_up(320, 128), _same(128), _same(128)),
    (_up(160, 64), _same(64), _same(64)),
)
OUTPUT = Block(80, 32)
COLOURS = 3


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, addition of the input in residual blocks, ReLU."""

    def __init__(self, block: Block) -> None:
        """Build the block with random weights."""
        super().__init__()
        self.residual = block.residual
        self.conv_block = nn.Sequential(_convolution(block), nn.BatchNorm2d(block.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on float32 [B, C, H, W]."""
        y: Tensor = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


def _convolution(block: Block) -> nn.Module:
    if not block.transposed:
        return nn.Conv2d(block.inputs, block.outputs, block.kernel, block.stride, block.padding)
    doubles = block.stride == 2
    return nn.ConvTranspose2d(
        block.inputs, block.outputs, block.kernel, block.stride, block.padding, output_padding=int(doubles)
    )


class Wav2LipGenerator(nn.Module):
    """The generator: 36.3 M parameters, 7.9 GFLOP per frame."""

    def __init__(self) -> None:
        """Build the generator with random weights."""
        super().__init__()
        self.face_encoder_blocks = _stages(FACE_ENCODER)
        self.audio_encoder = nn.Sequential(*map(ConvBlock, AUDIO_ENCODER))
        self.face_decoder_blocks = _stages(FACE_DECODER)
        self.output_block = nn.Sequential(ConvBlock(OUTPUT), nn.Conv2d(OUTPUT.outputs, COLOURS, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        """Generate the faces.

        Args:
            mel: Mel windows, float32 [B, 1, 80, 16], bands by mel frames, -4 to 4.
            face: Two faces, float32 [B, 6, 96, 96], BGR, 0 to 1: with the lower half black, then whole.

        Returns:
            Lip-synced faces, float32 [B, 3, 96, 96], BGR, 0 to 1.
        """
        features = []
        for stage in self.face_encoder_blocks:
            face = stage(face)
            features.append(face)
        x: Tensor = self.audio_encoder(mel)
        for stage, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat([stage(x), feature], dim=1)
        drawn: Tensor = self.output_block(x)
        return drawn


def _stages(stages: tuple[tuple[Block, ...], ...]) -> nn.ModuleList:
    return nn.ModuleList([nn.Sequential(*map(ConvBlock, blocks)) for blocks in stages])
