"""SyncNet, the network of the lip-sync metrics: turns windows of lips and of audio into comparable embeddings.

State-dict keys are those of the published syncnet_v2.model, so it loads strictly. It runs in torch and is not exported.

Source: docs/specs/syncnet.md, "Network"; "Out of time: automated lip sync in the wild", Chung and Zisserman, 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

FEATURES, EMBEDDING = 512, 1024


class SyncNet(nn.Module):
    """Both towers. Embeddings of lips and audio of the same moment are close if they are in sync."""

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

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed consecutive windows of frames; only the first convolution spans time, so windows share the others.

        Args:
            frames: uint8 BGR [F, 224, 224, 3], consecutive at 25 fps; F is at least 5.

        Returns:
            float32 [F - 4, 1024]; window i covers frames i to i + 4.
        """
        features: Tensor = self.netcnnlip(frames.permute(3, 0, 1, 2)[None].to(next(self.parameters()).dtype))
        embeddings: Tensor = self.netfclip(features[0, :, :, 0, 0].T)
        return embeddings

    def embed_sounds(self, windows: Tensor) -> Tensor:
        """Embed audio windows.

        Args:
            windows: float32 [N, 13, 20].

        Returns:
            float32 [N, 1024].
        """
        embeddings: Tensor = self.netfcaud(self.netcnnaud(windows[:, None]).flatten(1))
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
