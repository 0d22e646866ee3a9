"""S3FD, the original's face detector: finds scores and box offsets for every anchor of a frame.

Wav2Lip's and SyncNet's detectors have different weights and differ in a few layers. The keys of the state dict are
those of Wav2Lip's published s3fd.pth, which loads strictly; SyncNet's sfd_face.pth has other names for these layers.

Source: docs/specs/wav2lip.md, "S3FD"; docs/specs/syncnet.md, "S3FD of this pipeline"; "S3FD: Single Shot
Scale-invariant Face Detector", Zhang et al., 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_FLOOR = 1e-10
BACKGROUNDS = 3  # the first level has three background confidences, of which the largest counts


@dataclass(frozen=True)
class S3FDVariant:
    """Differences between one project's detector and another's.

    Attributes:
        means: Values subtracted from red, green and blue.
        context_dilation: Dilation of the layer fc6, which sees the context of a face.
        context_padding: Padding of the same layer; padding beyond the dilation enlarges the fourth level.
        ceil_pool: Whether the third pooling keeps an odd last row and column.
    """

    means: tuple[float, float, float]
    context_dilation: int
    context_padding: int
    ceil_pool: bool


# Means of blue, green and red, but subtracted from red, green and blue, as in training
WAV2LIP_S3FD = S3FDVariant((104.0, 117.0, 123.0), context_dilation=1, context_padding=3, ceil_pool=False)
SYNCNET_S3FD = S3FDVariant((123.0, 117.0, 104.0), context_dilation=6, context_padding=6, ceil_pool=True)

# Names of the layers in sfd_face.pth
_TRUNK = {"conv1": (0, 2), "conv2": (5, 7), "conv3": (10, 12, 14), "conv4": (17, 19, 21), "conv5": (24, 26, 28)}
_HEADS = ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")
SYNCNET_NAMES: Mapping[str, str] = {
    **{
        f"vgg.{number}": f"{block}_{place}"
        for block, numbers in _TRUNK.items()
        for place, number in enumerate(numbers, 1)
    },
    "vgg.31": "fc6",
    "vgg.33": "fc7",
    **{f"extras.{i}": layer for i, layer in enumerate(("conv6_1", "conv6_2", "conv7_1", "conv7_2"))},
    **{f"L2Norm{place}": f"conv{place}_norm" for place in ("3_3", "4_3", "5_3")},
    **{f"{kind}.{i}": f"{head}_mbox_{kind}" for kind in ("loc", "conf") for i, head in enumerate(_HEADS)},
}


class ScaledNorm(nn.Module):
    """Normalises the channels at each position to length 1, then scales each channel."""

    def __init__(self, channels: int) -> None:
        """Build the norm with scale 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W], in float32, as squares overflow half precision."""
        exact = x.float()
        norm = exact.square().sum(dim=1, keepdim=True).sqrt() + NORM_FLOOR
        scaled: Tensor = exact / norm * self.weight.float()[:, None, None]
        return scaled.to(x.dtype)


class S3FD(nn.Module):
    """The detector, for any batch size and for images of at least 32 by 32 pixels."""

    def __init__(self, variant: S3FDVariant = WAV2LIP_S3FD) -> None:
        """Build the detector with random weights."""
        super().__init__()
        self._variant = variant
        self.conv1_1, self.conv1_2 = _conv(3, 64), _conv(64, 64)
        self.conv2_1, self.conv2_2 = _conv(64, 128), _conv(128, 128)
        self.conv3_1, self.conv3_2, self.conv3_3 = _conv(128, 256), _conv(256, 256), _conv(256, 256)
        self.conv4_1, self.conv4_2, self.conv4_3 = _conv(256, 512), _conv(512, 512), _conv(512, 512)
        self.conv5_1, self.conv5_2, self.conv5_3 = _conv(512, 512), _conv(512, 512), _conv(512, 512)
        self.fc6 = _conv(512, 1024, padding=variant.context_padding, dilation=variant.context_dilation)
        self.fc7 = _conv(1024, 1024, kernel=1, padding=0)
        self.conv6_1, self.conv6_2 = _conv(1024, 256, kernel=1, padding=0), _conv(256, 512, stride=2)
        self.conv7_1, self.conv7_2 = _conv(512, 128, kernel=1, padding=0), _conv(128, 256, stride=2)
        self.conv3_3_norm, self.conv4_3_norm, self.conv5_3_norm = ScaledNorm(256), ScaledNorm(512), ScaledNorm(512)
        self.conv3_3_norm_mbox_conf, self.conv3_3_norm_mbox_loc = _conv(256, BACKGROUNDS + 1), _conv(256, 4)
        self.conv4_3_norm_mbox_conf, self.conv4_3_norm_mbox_loc = _conv(512, 2), _conv(512, 4)
        self.conv5_3_norm_mbox_conf, self.conv5_3_norm_mbox_loc = _conv(512, 2), _conv(512, 4)
        self.fc7_mbox_conf, self.fc7_mbox_loc = _conv(1024, 2), _conv(1024, 4)
        self.conv6_2_mbox_conf, self.conv6_2_mbox_loc = _conv(512, 2), _conv(512, 4)
        self.conv7_2_mbox_conf, self.conv7_2_mbox_loc = _conv(256, 2), _conv(256, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score all anchors of images.

        Args:
            images: uint8 RGB [B, H, W, 3].

        Returns:
            logits, float32 [B, A, 2] (background, face), and offsets, float32 [B, A, 4] (dx, dy, dw, dh). Anchors are
            ordered by level, finest first, and in each level by row.
        """
        # Cast first, as TensorRT accepts uint8 in no other operator
        x = (images.float() - torch.tensor(self._variant.means)).permute(0, 3, 1, 2)
        heads = [self._head(name, tap) for name, tap in self._taps(x.to(self.conv1_1.weight.dtype)).items()]
        logits, offsets = zip(*heads, strict=True)
        return torch.cat(logits, dim=1).float(), torch.cat(offsets, dim=1).float()

    def _taps(self, x: Tensor) -> dict[str, Tensor]:
        """Run the trunk, and return the input of each head by its name."""
        x = _pool(self._run(x, "conv1_1", "conv1_2"))
        x = _pool(self._run(x, "conv2_1", "conv2_2"))
        third = self._run(x, "conv3_1", "conv3_2", "conv3_3")
        fourth = self._run(_pool(third, ceil=self._variant.ceil_pool), "conv4_1", "conv4_2", "conv4_3")
        fifth = self._run(_pool(fourth), "conv5_1", "conv5_2", "conv5_3")
        seventh = self._run(_pool(fifth), "fc6", "fc7")
        sixth_conv = self._run(seventh, "conv6_1", "conv6_2")
        return {
            "conv3_3_norm": self.conv3_3_norm(third),
            "conv4_3_norm": self.conv4_3_norm(fourth),
            "conv5_3_norm": self.conv5_3_norm(fifth),
            "fc7": seventh,
            "conv6_2": sixth_conv,
            "conv7_2": self._run(sixth_conv, "conv7_1", "conv7_2"),
        }

    def _run(self, x: Tensor, *layers: str) -> Tensor:
        for layer in layers:
            x = torch.relu(self.get_submodule(layer)(x))
        return x

    def _head(self, name: str, tap: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.get_submodule(f"{name}_mbox_conf")(tap)
        if logits.shape[1] == BACKGROUNDS + 1:
            logits = torch.cat([logits[:, :BACKGROUNDS].amax(dim=1, keepdim=True), logits[:, BACKGROUNDS:]], dim=1)
        offsets: Tensor = self.get_submodule(f"{name}_mbox_loc")(tap)
        return _by_anchor(logits), _by_anchor(offsets)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, dilation: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation)


def _pool(x: Tensor, *, ceil: bool = False) -> Tensor:
    return functional.max_pool2d(x, 2, ceil_mode=ceil)


def _by_anchor(values: Tensor) -> Tensor:
    return values.flatten(start_dim=2).transpose(1, 2)
