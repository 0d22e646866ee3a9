"""Where SyncNet's weights come from: the user's copy of the published file, recognised by size and hash."""

from __future__ import annotations

from pathlib import Path

from export.shared.sources import Source
from export.syncnet.networks import SYNCNET

PUBLISHED_NAME = "syncnet_v2.model"
PUBLISHED_BYTES = 54_573_114
PUBLISHED_SHA256 = "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442"


def syncnet_source(option: str, given: Path | None) -> Source:
    """Describe the source of SyncNet; files with other weights of the same shapes are accepted, with a line about them.

    Args:
        option: Option that takes the checkpoint.
        given: Value of that option, or None.
    """
    return Source(SYNCNET, option, given, remarks=_remarks)


def is_published(checkpoint: Path, sha256: str) -> bool:
    """Say whether a checkpoint is the published one, whose figures papers give."""
    return (checkpoint.stat().st_size, sha256) == (PUBLISHED_BYTES, PUBLISHED_SHA256)


def _remarks(checkpoint: Path, sha256: str) -> list[str]:
    if is_published(checkpoint, sha256):
        return [f"{checkpoint}: the published {PUBLISHED_NAME}"]
    return [
        f"{checkpoint}: warning: not the published {PUBLISHED_NAME} ({PUBLISHED_BYTES:,} bytes, sha256"
        f" {PUBLISHED_SHA256}). Its figures cannot be compared with published ones"
    ]
