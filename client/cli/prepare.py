"""`lipsync prepare`: analyses a clip once, so that further speech costs less."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from client.cli.parser import OneLineParser, add_options, given_job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.prepared.options import FOLDER_SUFFIX, all_clip_options, read_preparation
from client.prepared.run import prepare_clip
from client.progress import open_progress


def prepare_command(arguments: Sequence[str]) -> int:
    """Prepare one clip; returns 0."""
    namespace = build_parser().parse_args(arguments)
    video: Path = namespace.clip
    folder = namespace.output or video.with_name(f"{video.name}{FOLDER_SUFFIX}")
    options = read_preparation(video, folder, given_job_options(namespace))
    with open_progress(quiet=namespace.quiet) as progress:
        prepared = prepare_clip(options, server_access(namespace), namespace.model_repository, progress)
    if namespace.json:
        print(json.dumps(dataclasses.asdict(prepared), indent=2))
    elif not namespace.quiet:
        print(prepared.summary())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync prepare",
        description="Analyse a clip once: find its faces, learn its speaker's mouth, and run those of the pipeline's"
        " networks that do not depend on the speech. Jobs take the folder with --prepared in place of --video and give"
        " the same frames.",
    )
    parser.add_argument("clip", type=Path, metavar="CLIP", help="video or still image that shows the speaker")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"folder to write (default: CLIP's name with {FOLDER_SUFFIX})"
    )
    add_options(parser, all_clip_options())
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable report on stdout")
    parser.add_argument("--quiet", action="store_true", help="print only errors (and the report of --json)")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser
