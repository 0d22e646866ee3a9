"""Where the UNet's weights come from: a given checkpoint, or LatentSync's published ones on Hugging Face.

Revisions and hashes are those of the public repositories; a download with another hash is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from export.latentsync.network import UNET
from export.shared.hub import HubFile
from export.shared.sources import Source
from lipsync_core.latentsync.options import RESOLUTIONS

Version = Literal["1.5", "1.6"]

PUBLISHED: Mapping[Version, HubFile] = {
    "1.5": HubFile(
        "ByteDance/LatentSync-1.5",
        "32a20d29aead0498e3e885e90dbbe8027da1b61b",
        "latentsync_unet.pt",
        "6440b49a7ccceff56cdc001f5f17605216337f5bbd66fa360139768926e23f51",
    ),
    "1.6": HubFile(
        "ByteDance/LatentSync-1.6",
        "c42c7e6c8e9c213626389fa7d9a3c444b8536353",
        "latentsync_unet.pt",
        "0a478e89eb660f82da4c35dbdde8a5adfb27f99d1b4e50edd03729e1e98316d3",
    ),
}


def unet_source(option: str, given: Path | None, version: Version) -> Source:
    """Describe the source of a version's UNet.

    Both versions have the same keys and shapes, so the other version's checkpoint is refused by its hash. Other files
    may be anybody's training, and are accepted.

    Args:
        option: Option that takes the checkpoint.
        given: Value of that option, or None.
        version: Version of LatentSync.
    """
    refused = {file.sha256: _refusal(version, other) for other, file in PUBLISHED.items() if other != version}
    return Source(UNET, option, given, PUBLISHED[version], refused, RESOLUTIONS[version])


def _refusal(version: Version, other: Version) -> str:
    return (
        f"expected LatentSync {version} for faces of {RESOLUTIONS[version]} pixels, got LatentSync {other} for"
        f" {RESOLUTIONS[other]}. Give --version {other}, or the other checkpoint"
    )
