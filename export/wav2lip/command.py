"""The command `wav2lip`: exports Wav2Lip's generator and the original's face detector."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.arguments import Command, add_export_options, read_options
from lipsync_core.extras import needs_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--checkpoint", type=Path, help="wav2lip.pth or wav2lip_gan.pth; exports the generator")
    parser.add_argument("--s3fd", type=Path, help="s3fd.pth; exports the face detector of the original")
    add_export_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the models into the model repository, and print what was written.

    Raises:
        ValueError: A checkpoint is missing or wrong; an exported model differs from torch or from
            its config.pbtxt.
        SystemExit: torch or a package beside it is not installed.
    """
    with needs_extra("export,torch"):
        from export.shared.exporter import export_networks  # noqa: PLC0415  (torch is heavy)
        from export.shared.sources import Source  # noqa: PLC0415
        from export.wav2lip.networks import DETECTOR, GENERATOR  # noqa: PLC0415
    sources = (
        Source(GENERATOR, "--checkpoint", arguments.checkpoint),
        Source(DETECTOR, "--s3fd", arguments.s3fd),
    )
    for line in export_networks(sources, read_options(arguments)):
        print(line, flush=True)


COMMAND = Command(
    name="wav2lip",
    summary="export Wav2Lip's generator and its face detector S3FD, from their checkpoints",
    add_arguments=add_arguments,
    run=run,
)
