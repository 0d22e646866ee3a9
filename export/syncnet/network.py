"""SyncNet, the network of the lip-sync metrics: turns windows of lips and of audio into comparable embeddings.

State-dict keys are those of the published syncnet_v2.model, so it loads strictly.

Source: docs/specs/syncnet.md, "Network"; "Out of time: automated lip sync in the wild", Chung and Zisserman, 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

from lipsync_core.syncnet.distances import EMBEDDING

FEATURES = 512
BLUE_GREEN_RED = [2, 1, 0]  # the order of the network


class SyncNet(nn.Module):
    """The layers of both towers, by the original's keys; `LipTower` and `SoundTower` run them."""

    def __init__(self) -> None:
        """Build an untrained network."""
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, (3, 3), padding=1),
            nn.MaxPool2d(1, 1),  # does nothing, but counts in the keys
            *_conv2d(64, 192, (3, 3), padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, (3, 3), padding=1),
            *_conv2d(384, 256, (3, 3), padding=1),
            *_conv2d(256, 256, (3, 3), padding=1),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, FEATURES, (5, 4), padding=0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(256, FEATURES, (1, 6, 6)),
        )


class LipTower(nn.Module):
    """Embeds lips, close to the sound of the same moment if they are in sync."""

    def __init__(self, network: SyncNet) -> None:
        """Take the tower of a filled network."""
        super().__init__()
        self.netcnnlip, self.netfclip = network.netcnnlip, network.netfclip

    def forward(self, crops: Tensor) -> Tensor:
        """Embed consecutive windows of crops; only the first convolution spans time, so windows share the others.

        Args:
            crops: uint8 RGB [B, F, 224, 224, 3], consecutive at 25 fps; F is at least 5.

        Returns:
            float32 [B, F - 4, 1024]; window i covers crops i to i + 4.
        """
        planes = crops[..., BLUE_GREEN_RED].permute(0, 4, 1, 2, 3).to(next(self.parameters()).dtype)
        features = self.netcnnlip(planes)[..., 0, 0].transpose(1, 2)
        embeddings: Tensor = self.netfclip(features.flatten(0, 1))
        return embeddings.reshape(*features.shape[:2], EMBEDDING)


class SoundTower(nn.Module):
    """Embeds sound."""

    def __init__(self, network: SyncNet) -> None:
        """Take the tower of a filled network."""
        super().__init__()
        self.netcnnaud, self.netfcaud = network.netcnnaud, network.netfcaud

    def forward(self, mfcc: Tensor) -> Tensor:
        """Embed windows of cepstral coefficients, float32 [B, 13, 20], as float32 [B, 1024]."""
        embeddings: Tensor = self.netfcaud(self.netcnnaud(mfcc[:, None]).flatten(1))
        return embeddings


def _conv2d(inputs: int, outputs: int, kernel: tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()


def _conv3d(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    strides, paddings = (1, stride, stride), (0, padding, padding)
    return nn.Conv3d(inputs, outputs, kernel, strides, paddings), nn.BatchNorm3d(outputs), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU(), nn.Linear(FEATURES, EMBEDDING)
    )
