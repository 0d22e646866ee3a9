"""Where the weights of MuseTalk's UNet and face parser come from: given checkpoints, or published ones on Hugging Face.

Revisions and hashes are those of the public repositories; a download with another hash is refused. The hash of the UNet
1.0 is not known here: it is printed, and the user can pin it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from export.musetalk.network import PARSER, UNET
from export.shared.hub import HubFile
from export.shared.sources import Source
from lipsync_core.musetalk.sizes import FACE_LATENT_CHANNELS, TOKEN_SIZE
from lipsync_core.vae.sizes import LATENT_CHANNELS

Version = Literal["1.0", "1.5"]

REVISION = "3ef28bc5cff08c90ad8178a25f1b570cd800170f"
PUBLISHED: Mapping[Version, HubFile] = {
    "1.0": HubFile("TMElyralab/MuseTalk", REVISION, "musetalk/pytorch_model.bin", None),
    "1.5": HubFile(
        "TMElyralab/MuseTalk",
        REVISION,
        "musetalkV15/unet.pth",
        "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
    ),
}
PUBLISHED_PARSER = HubFile(  # a copy: its authors publish the file on Google Drive only
    "ManyOtherFunctions/face-parse-bisent",
    "0073b233a5a3c4b1377d4dbf49245017938a72b5",
    "79999_iter.pth",
    "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
)
FOLDER_FILES: Mapping[Version, tuple[str, ...]] = {
    "1.0": ("pytorch_model.bin", "musetalk/pytorch_model.bin"),
    "1.5": ("unet.pth", "musetalkV15/unet.pth"),
}
# Files beside the UNet with its configuration, which the published ones had wrong for a time
CONFIGURATIONS = ("musetalk.json", "config.json")
CONFIGURED = {
    "in_channels": FACE_LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "cross_attention_dim": TOKEN_SIZE,
}


def unet_source(option: str, given: Path | None, version: Version, sha256: str | None) -> Source:
    """Describe the source of a version's UNet.

    Both versions have the same keys and shapes, so the other version's checkpoint is refused by its hash where that is
    known. Other files may be anybody's training: they are accepted, with a line that says so.

    Args:
        option: Option that takes the checkpoint.
        given: Value of that option, or None.
        version: Version of MuseTalk.
        sha256: Hash that the checkpoint must have, or None.
    """
    refused = {file.sha256: _refusal(version, other) for other, file in PUBLISHED.items() if other != version}
    return Source(
        replace(UNET, folder_files=FOLDER_FILES[version]),
        option,
        given,
        PUBLISHED[version],
        refused,
        version=version,
        sha256=sha256,
        remarks=partial(_remarks, version, sha256),
    )


def parser_source(option: str, given: Path | None) -> Source:
    """Describe the source of the face parser for a command that takes it with an option."""
    without = (
        f"face_parsing: left out, so only the mouth area `mouth` works. It takes {Path(PUBLISHED_PARSER.file).name}"
        f" (53 MB, for non-commercial research) with {option}, or --download"
    )
    return Source(PARSER, option, given, PUBLISHED_PARSER, if_left_out=without)


def _refusal(version: Version, other: Version) -> str:
    return f"expected MuseTalk {version}, got MuseTalk {other}. Give --version {other}, or the other checkpoint"


def _remarks(version: Version, pinned: str | None, checkpoint: Path, sha256: str) -> list[str]:
    """Return remarks on a UNet: that its version is not certain, and where the configuration beside it is wrong."""
    remarks = []
    if sha256 not in (pinned, PUBLISHED[version].sha256):
        remarks.append(
            f"{checkpoint}: taken for MuseTalk {version}, but 1.0 and 1.5 have the same keys and shapes, and its hash"
            " is not a known one. Compare the hash with a source that you trust, and pin it with --sha256"
        )
    for name in CONFIGURATIONS:
        path = checkpoint.with_name(name)
        wrong = _wrong_settings(path)
        if wrong:
            remarks.append(f"{path}: says {', '.join(wrong)}. It is not read: the weights' own shapes count")
    return remarks


def _wrong_settings(path: Path) -> list[str]:
    try:
        configuration = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # it is not needed
    if not isinstance(configuration, dict):
        return []
    said = {key: configuration.get(key, expected) for key, expected in CONFIGURED.items()}
    return [f"{key} {value} for {CONFIGURED[key]}" for key, value in said.items() if value != CONFIGURED[key]]
