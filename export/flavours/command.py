"""The command `flavours`: writes configs/*.pbtxt from each config.pbtxt and flavours.toml; no weights are involved."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.flavours.render import render_flavours
from export.flavours.table import TABLE_FILE
from export.shared.arguments import Command, add_repository
from export.shared.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    add_repository(parser)


def run(options: argparse.Namespace) -> None:
    """Write the files, or check them.

    Raises:
        ValueError: flavours.toml or a config.pbtxt is wrong, or with --check a file is not up to date.
    """
    rendered, stale = render_flavours(options.repository), stale_files(options.repository)
    if options.check and stale:
        names = ", ".join(str(path.relative_to(options.repository)) for path in stale)
        raise ValueError(f"flavours: expected files that match {TABLE_FILE}, got others in {names}. Write them again")
    for path in stale:
        if path in rendered:
            write_whole(path, rendered[path].encode())
        else:
            path.unlink()
    print(f"{len(rendered)} flavours, {len(stale)} changed")


def stale_files(repository: Path) -> list[Path]:
    """List the files that are missing, differ from flavours.toml, or belong to a flavour that it does not have.

    Raises:
        ValueError: flavours.toml or a config.pbtxt is wrong.
    """
    rendered = render_flavours(repository)
    present = set(repository.glob("*/configs/*.pbtxt"))
    differing = {path for path in present & rendered.keys() if path.read_text(encoding="utf-8") != rendered[path]}
    return sorted((present ^ rendered.keys()) | differing)


COMMAND = Command(
    name="flavours",
    summary="write configs/*.pbtxt of the models from config.pbtxt and flavours.toml",
    add_arguments=add_arguments,
    run=run,
)
