"""BiSeNet, the face parser: finds the class of each pixel of a face, such as skin, nose or upper lip.

A convolution and its batch norm are a pair here, so that the export can make one layer of both; `original_key` gives
the keys of the published checkpoint.

Source: docs/specs/musetalk.md, "Face parser"; "BiSeNet: Bilateral Segmentation Network for Real-time Semantic
Segmentation", Yu et al., 2018; "Deep Residual Learning for Image Recognition", He et al., 2015.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from lipsync_core.musetalk.sizes import PARSER_CLASSES

FEATURES = 128  # channels of the top-down path
FUSED = 256  # channels after both paths are joined
# Key of BiSeNet -> key of the original
KEY_RULES = (
    (r"\.pair(\d?)\.0\.", r".conv\1."),
    (r"\.pair(\d?)\.1\.", r".bn\1."),
    (r"\.attention\.0\.", ".conv_atten."),
    (r"\.attention\.1\.", ".bn_atten."),
)


def original_key(key: str) -> str:
    """Return the original's key for a key of BiSeNet."""
    for pattern, name in KEY_RULES:
        key = re.sub(pattern, name, key)
    return key


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        """Build the block with random weights."""
        super().__init__()
        self.pair = _pair(inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on [B, C, H, W]."""
        return relu(self.pair(x))


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Build the block with random weights."""
        super().__init__()
        self.pair1, self.pair2 = _pair(inputs, outputs, 3, stride), _pair(outputs, outputs, 3)
        changes = inputs != outputs or stride != 1
        self.downsample = _pair(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on [B, C, H, W]."""
        return relu(self.pair2(relu(self.pair1(x))) + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet-18 without its classifier."""

    def __init__(self) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.pair1 = _pair(3, 64, 7, 2)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features at an eighth, a sixteenth and a thirty-second of the size."""
        x = max_pool2d(relu(self.pair1(images)), kernel_size=3, stride=2, padding=1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """Narrows features, and scales each channel by what the whole picture holds."""

    def __init__(self, inputs: int) -> None:
        """Build the module with random weights."""
        super().__init__()
        self.conv = ConvBlock(inputs, FEATURES)
        self.attention = _pair(FEATURES, FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the module on [B, C, H, W]; returns [B, 128, H, W]."""
        features: Tensor = self.conv(x)
        return features * torch.sigmoid(self.attention(_mean(features)))


class ContextPath(nn.Module):
    """ResNet-18's features, joined from the coarsest to the finest."""

    def __init__(self) -> None:
        """Build the path with random weights."""
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = AttentionRefinement(256), AttentionRefinement(512)
        self.conv_head16, self.conv_head32 = ConvBlock(FEATURES, FEATURES), ConvBlock(FEATURES, FEATURES)
        self.conv_avg = ConvBlock(512, FEATURES, kernel=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return ResNet's and the joined features, both at an eighth of the size."""
        eighth, sixteenth, last = self.resnet(images)
        joined = _doubled(self.arm32(last) + self.conv_avg(_mean(last)))
        joined = _doubled(self.arm16(sixteenth) + self.conv_head32(joined))
        return eighth, self.conv_head16(joined)


class FeatureFusion(nn.Module):
    """Joins both paths, and strengthens each channel by what the whole picture holds."""

    def __init__(self) -> None:
        """Build the module with random weights."""
        super().__init__()
        self.convblk = ConvBlock(2 * FEATURES, FUSED, kernel=1)
        self.conv1 = nn.Conv2d(FUSED, FUSED // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(FUSED // 4, FUSED, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Run the module on two of [B, 128, H, W]; returns [B, 256, H, W]."""
        fused: Tensor = self.convblk(torch.cat([spatial, context], dim=1))
        return fused + fused * torch.sigmoid(self.conv2(relu(self.conv1(_mean(fused)))))


class ClassHead(nn.Module):
    """Scores each pixel for each class."""

    def __init__(self) -> None:
        """Build the head with random weights."""
        super().__init__()
        self.conv = ConvBlock(FUSED, FUSED)
        self.conv_out = nn.Conv2d(FUSED, PARSER_CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the head on [B, 256, H, W]; returns [B, 19, H, W]."""
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class BiSeNet(nn.Module):
    """The face parser, without the two heads that only training uses."""

    def __init__(self) -> None:
        """Build the parser with random weights."""
        super().__init__()
        self.cp, self.ffm, self.conv_out = ContextPath(), FeatureFusion(), ClassHead()

    def forward(self, images: Tensor) -> Tensor:
        """Find the class of each pixel.

        Args:
            images: RGB, normalised, float32 [B, 3, H, W]; H and W are divisible by 32.

        Returns:
            uint8 [B, H, W], 0 to 18.
        """
        # TensorRT accepts uint8 only as a cast from a floating-point number
        return self.scores(images).argmax(dim=1).float().to(torch.uint8)

    def scores(self, images: Tensor) -> Tensor:
        """Score each pixel of images, float32 [B, 3, H, W], for each class; returns float32 [B, 19, H, W]."""
        coarse = self.conv_out(self.ffm(*self.cp(images)))
        return interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=True)


def _pair(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution that keeps the size, but for its stride, with its batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0, mode="nearest")
