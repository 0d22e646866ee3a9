"""The command `vae`: exports the encoder and the decoder of the VAE, which several pipelines share."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.arguments import (
    Command,
    add_download,
    add_export_options,
    add_replace,
    add_size,
    read_options,
)
from lipsync_core.extras import needs_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--checkpoint", type=Path, help="folder or file of sd-vae-ft-mse")
    add_export_options(parser)
    add_download(parser)
    add_size(parser)
    add_replace(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write both models into the model repository, and print what was written.

    Raises:
        ValueError: The checkpoint is missing or wrong; other weights would be replaced; an exported
            model differs from torch or from its config.pbtxt.
        SystemExit: torch or a package beside it is not installed.
    """
    with needs_extra("export,torch"):
        from export.shared.exporter import export_networks  # noqa: PLC0415  (torch is heavy)
        from export.vae.source import vae_source  # noqa: PLC0415
    for line in export_networks([vae_source("--checkpoint", arguments.checkpoint)], read_options(arguments)):
        print(line, flush=True)


COMMAND = Command(
    name="vae",
    summary="export the VAE's encoder and decoder, shared by pipelines, from sd-vae-ft-mse",
    add_arguments=add_arguments,
    run=run,
)
