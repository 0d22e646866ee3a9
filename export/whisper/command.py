"""The command `whisper`: exports Whisper's audio encoder, which several pipelines share."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.arguments import Command, add_download, add_export_options, add_replace, read_options
from lipsync_core.extras import needs_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--checkpoint", type=Path, help="OpenAI's tiny.pt, or the folder or file of whisper-tiny")
    add_export_options(parser)
    add_download(parser)
    add_replace(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the encoder into the model repository, and print what was written.

    Raises:
        ValueError: The checkpoint is missing or wrong; other weights would be replaced; the exported
            model differs from torch or from its config.pbtxt.
        SystemExit: torch or a package beside it is not installed.
    """
    with needs_extra("export,torch"):
        from export.shared.exporter import export_networks  # noqa: PLC0415  (torch is heavy)
        from export.whisper.source import whisper_source  # noqa: PLC0415
    for line in export_networks([whisper_source("--checkpoint", arguments.checkpoint)], read_options(arguments)):
        print(line, flush=True)


COMMAND = Command(
    name="whisper",
    summary="export Whisper tiny's audio encoder, shared by pipelines, from OpenAI's or Hugging Face's checkpoint",
    add_arguments=add_arguments,
    run=run,
)
