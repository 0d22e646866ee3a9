"""S3FD, the face detector of the original Wav2Lip: frames in, scores and box offsets of every anchor out.

State-dict keys are those of the published s3fd.pth, so it loads strictly.

Source: reference/wav2lip/SPEC.md section 6; "S3FD: Single Shot Scale-invariant Face Detector", Zhang et al., 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Subtracted from red, green and blue in this order: the usual means of blue, green and red, as trained weights got it.
MEANS = (104.0, 117.0, 123.0)
NORM_FLOOR = 1e-10
BACKGROUNDS = 3  # confidences of the first level that all mean background; the largest counts


class ScaledNorm(nn.Module):
    """Bring each position's channels to length 1, then scale each channel."""

    def __init__(self, channels: int) -> None:
        """Build with scale 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W]; in float32, since squares overflow half precision."""
        exact = x.float()
        norm = exact.square().sum(dim=1, keepdim=True).sqrt() + NORM_FLOOR
        scaled: Tensor = exact / norm * self.weight.float()[:, None, None]
        return scaled.to(x.dtype)


class S3FD(nn.Module):
    """The detector, any batch, height and width of at least 32 pixels."""

    def __init__(self) -> None:
        """Build an untrained detector."""
        super().__init__()
        self.conv1_1, self.conv1_2 = _conv(3, 64), _conv(64, 64)
        self.conv2_1, self.conv2_2 = _conv(64, 128), _conv(128, 128)
        self.conv3_1, self.conv3_2, self.conv3_3 = _conv(128, 256), _conv(256, 256), _conv(256, 256)
        self.conv4_1, self.conv4_2, self.conv4_3 = _conv(256, 512), _conv(512, 512), _conv(512, 512)
        self.conv5_1, self.conv5_2, self.conv5_3 = _conv(512, 512), _conv(512, 512), _conv(512, 512)
        self.fc6, self.fc7 = _conv(512, 1024, padding=3), _conv(1024, 1024, kernel=1, padding=0)
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
        """Look at images.

        Args:
            images: uint8 RGB [B, H, W, 3].

        Returns:
            logits [B, A, 2] (background, face) and offsets [B, A, 4] (dx, dy, dw, dh), float32; anchors level by
            level, finest first, each row by row.
        """
        # cast first: TensorRT does nothing else with bytes
        x = (images.float() - torch.tensor(MEANS)).permute(0, 3, 1, 2)
        heads = [self._head(name, tap) for name, tap in self._taps(x.to(self.conv1_1.weight.dtype)).items()]
        logits, offsets = zip(*heads, strict=True)
        return torch.cat(logits, dim=1).float(), torch.cat(offsets, dim=1).float()

    def _taps(self, x: Tensor) -> dict[str, Tensor]:
        """Run the trunk; by head, what it looks at."""
        x = _pool(self._run(x, "conv1_1", "conv1_2"))
        x = _pool(self._run(x, "conv2_1", "conv2_2"))
        third = self._run(x, "conv3_1", "conv3_2", "conv3_3")
        fourth = self._run(_pool(third), "conv4_1", "conv4_2", "conv4_3")
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


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


def _pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


def _by_anchor(values: Tensor) -> Tensor:
    return values.flatten(start_dim=2).transpose(1, 2)
