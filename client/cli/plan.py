"""`lipsync plan`: says what a job would do, without doing it."""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from client.cli.parser import OneLineParser, add_job_options
from client.cli.run import add_voice_arguments, job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.errors import OutputError
from client.job_options import JobOptions
from client.media import check_output
from client.progress import open_progress
from client.scene.planning import plan_job


def plan_command(arguments: Sequence[str]) -> int:
    """Plan one job; returns 0."""
    namespace = build_parser().parse_args(arguments)
    namespace.output = _no_output()
    options = job_options(namespace)
    _check_outputs(namespace, options)
    with open_progress(quiet=namespace.quiet) as progress:
        plan, sheet = plan_job(options, server_access(namespace), namespace.model_repository, progress)
    if namespace.output_script is not None:
        _write(namespace.output_script, (json.dumps(plan.script, indent=2, ensure_ascii=False) + "\n").encode())
    if namespace.contact_sheet is not None:
        _write(namespace.contact_sheet, sheet)
    print(json.dumps(plan.as_dict(), indent=2) if namespace.json else plan.summary())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync plan",
        description="Find faces and speakers, and print what a job would do: who is lip-synced when, how sure that is,"
        " and why. Nothing is lip-synced.",
    )
    parser.add_argument("--video", type=Path, required=True, help="video or still image that shows the speakers")
    add_voice_arguments(parser)
    parser.set_defaults(prepared=None)
    parser.add_argument("--output-script", type=Path, metavar="FILE", help="write the script to edit, as JSON")
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="FILE", help="write sampled frames with boxes and names, as PNG"
    )
    add_job_options(parser)
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _no_output() -> Path:
    """Return the output of a job that is only planned; it is never written."""
    return Path(tempfile.gettempdir()) / f"lipsync-plan-{secrets.token_hex(8)}.mp4"


def _check_outputs(namespace: argparse.Namespace, options: JobOptions) -> None:
    """Check before the analysis that the files can be written, and replace none that the plan is made of.

    Raises:
        OutputError: one cannot, or does.
    """
    named = (namespace.script, namespace.diarization, namespace.speaker_boxes)
    inputs = [namespace.video, *options.scene.files, *(path for path in named if path is not None)]
    for path in (namespace.output_script, namespace.contact_sheet):
        if path is not None:
            check_output(path, inputs)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(about=path, expected="a file that can be written", got=error.strerror or error) from error
