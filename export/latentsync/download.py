"""LatentSync's published weights: where they are, pinned by revision and hash.

Revisions and hashes are the public record's; a file with another hash is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from export.shared.external_data import file_sha256
from lipsync_core.latentsync.options import RESOLUTIONS

Version = Literal["1.5", "1.6"]


@dataclass(frozen=True)
class HubFile:
    """One file of a Hugging Face repository, known by its content."""

    repository: str
    revision: str
    file: str
    sha256: str


UNETS: dict[Version, HubFile] = {
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
VAE = HubFile(
    "stabilityai/sd-vae-ft-mse",
    "31f26fdeee1355a5c34592e401dd41e45d25a493",
    "diffusion_pytorch_model.safetensors",
    "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
)
WHISPER = HubFile(  # OpenAI's own tiny.pt, beside the UNet of either version
    UNETS["1.6"].repository,
    UNETS["1.6"].revision,
    "whisper/tiny.pt",
    "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
)


def fetch(wanted: HubFile, option: str) -> Path:
    """Return a file from Hugging Face's cache, downloaded when it is not there, resumed when it is there in part.

    Raises:
        ValueError: it could not be had, or its content is another.
    """
    name = f"{wanted.repository}/{wanted.file}"
    try:
        path = Path(hf_hub_download(wanted.repository, wanted.file, revision=wanted.revision))
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{name}: expected a download at revision {wanted.revision}, got: {reason}."
            f" Run it again to resume, or get the file elsewhere and give it with {option}"
        ) from error
    found = file_sha256(path)
    if found != wanted.sha256:
        raise ValueError(
            f"{name}: expected sha256 {wanted.sha256}, got {found}. Delete {path} and run it again, or give a file"
            f" that you trust with {option}"
        )
    return path


def check_version(path: Path, sha256: str, version: Version) -> None:
    """Make sure that a UNet of one version is not taken for the other's; other files may be anybody's training.

    Raises:
        ValueError: it is the other version's.
    """
    for other, pinned in UNETS.items():
        if other != version and sha256 == pinned.sha256:
            raise ValueError(
                f"{path}: expected LatentSync {version} for faces of {RESOLUTIONS[version]} pixels, got LatentSync"
                f" {other} for {RESOLUTIONS[other]}. Give --version {other}, or the other checkpoint"
            )
