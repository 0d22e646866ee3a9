"""The command `latentsync`: exports LatentSync's UNet and the networks that it shares with other pipelines."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.arguments import Command, add_export_options, add_only, add_shared_networks, read_only, read_options
from lipsync_core.extras import needs_extra

NETWORKS = ("unet", "vae", "whisper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--unet", type=Path, help="latentsync_unet.pt; exports the UNet and its shallow step")
    add_shared_networks(parser)
    parser.add_argument(
        "--version",
        choices=("1.5", "1.6"),
        default="1.5",
        help="version of the UNet: 1.5 for faces of 256 pixels, 1.6 for 512 (default: %(default)s)",
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
        from export.latentsync.source import unet_source  # noqa: PLC0415  (torch is heavy)
        from export.shared.exporter import export_networks  # noqa: PLC0415
        from export.vae.source import vae_source  # noqa: PLC0415
        from export.whisper.source import whisper_source  # noqa: PLC0415
    sources = (
        unet_source("--unet", arguments.unet, arguments.version),
        vae_source("--vae", arguments.vae),
        whisper_source("--whisper", arguments.whisper),
    )
    for line in export_networks(read_only(arguments, NETWORKS, sources), read_options(arguments)):
        print(line, flush=True)


COMMAND = Command(
    name="latentsync",
    summary="export LatentSync's networks: UNet, VAE and Whisper's audio encoder, from their checkpoints",
    add_arguments=add_arguments,
    run=run,
)
