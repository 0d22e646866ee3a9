"""The command `syncnet`: exports SyncNet, which tells how well lips and sound agree."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.shared.arguments import Command, add_export_options, read_options
from lipsync_core.extras import needs_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--weights", type=Path, help="syncnet_v2.model; exports the towers of lips and of sound")
    add_export_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the models into the model repository, and print what was written.

    Raises:
        ValueError: The checkpoint is missing or wrong; an exported model differs from torch or from its config.pbtxt.
        SystemExit: torch or a package beside it is not installed.
    """
    with needs_extra("export,torch"):
        from export.shared.exporter import export_networks  # noqa: PLC0415  (torch is heavy)
        from export.syncnet.source import syncnet_source  # noqa: PLC0415
    for line in export_networks((syncnet_source("--weights", arguments.weights),), read_options(arguments)):
        print(line, flush=True)


COMMAND = Command(
    name="syncnet",
    summary="export SyncNet, which tells how well lips and sound agree, from its checkpoint",
    add_arguments=add_arguments,
    run=run,
)
