"""The command `musetalk`: exports MuseTalk's networks, and those that it shares with other pipelines."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from export.shared.arguments import Command, add_export_options, add_only, add_shared_networks, read_only, read_options
from lipsync_core.extras import needs_extra

NETWORKS = ("unet", "face-parsing", "vae", "whisper")
SHA256 = re.compile(r"[0-9a-f]{64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--unet", type=Path, help="unet.pth of 1.5, pytorch_model.bin of 1.0, or its folder")
    parser.add_argument(
        "--face-parsing",
        type=Path,
        help="79999_iter.pth or its folder; exports the face parser, which every mouth area but `mouth` needs",
    )
    add_shared_networks(parser)
    parser.add_argument(
        "--version", choices=("1.0", "1.5"), default="1.5", help="version of the UNet (default: %(default)s)"
    )
    parser.add_argument(
        "--sha256",
        type=_sha256,
        metavar="HASH",
        help="hash that the UNet's checkpoint must have; versions have the same shapes, and 1.0 has no pinned hash",
    )
    add_only(parser, NETWORKS)
    add_export_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the models into the model repository, and print what was written.

    Raises:
        ValueError: A checkpoint is missing or wrong; other weights of a shared network would be
            replaced; an exported model differs from torch or from its config.pbtxt.
        SystemExit: torch or a package beside it is not installed.
    """
    with needs_extra("export,torch"):
        from export.musetalk.source import parser_source, unet_source  # noqa: PLC0415  (torch is heavy)
        from export.shared.exporter import export_networks  # noqa: PLC0415
        from export.vae.source import vae_source  # noqa: PLC0415
        from export.whisper.source import whisper_source  # noqa: PLC0415
    sources = (
        unet_source("--unet", arguments.unet, arguments.version, arguments.sha256),
        parser_source("--face-parsing", arguments.face_parsing),
        vae_source("--vae", arguments.vae),
        whisper_source("--whisper", arguments.whisper),
    )
    for line in export_networks(read_only(arguments, NETWORKS, sources), read_options(arguments)):
        print(line, flush=True)


def _sha256(text: str) -> str:
    """Read a hash of the command line."""
    if not SHA256.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f"expected 64 hexadecimal digits, got {text!r}")
    return text.lower()


COMMAND = Command(
    name="musetalk",
    summary="export MuseTalk's networks: UNet, face parser, VAE and Whisper's audio encoder, from their checkpoints",
    add_arguments=add_arguments,
    run=run,
)
