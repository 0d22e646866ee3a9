"""`lipsync run`, also plain `lipsync`: lip-syncs one video."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from client.cli.parser import OneLineParser, add_job_options, given_job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.job_files import JobFiles, job_of
from client.job_options import JobOptions
from client.logs import LogProgress
from client.option import flag
from client.progress import open_progress
from client.run import run_job

EPILOG = """\
exit codes:
  0  the output is complete
  1  an error in the program itself, or memory or threads ran out
  2  wrong usage
  3  the video or the audio cannot be used
  4  no frame could be changed: no usable face, or its mouth is covered or outside the picture
  5  no server: it does not start, cannot be reached, or went away
  6  the server refused a request or failed in it
  7  the output cannot be written
  8  jobs of a batch failed; its report names them
  130, 143  interrupted (Ctrl-C, SIGTERM)
With any code but 0 nothing is left under the output's name, and a file that was there before is unchanged.
"""


def run_command(arguments: Sequence[str], parser: argparse.ArgumentParser) -> int:
    """Lip-sync one video; returns 0."""
    namespace = parser.parse_args(arguments)
    missing = _missing_files(namespace)
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    options = job_options(namespace)
    access = server_access(namespace)
    shown = LogProgress(options.job_id) if namespace.log_json else open_progress(quiet=namespace.quiet)
    with shown as progress:
        report = run_job(options, access, namespace.model_repository, progress)
    if namespace.json:
        print(json.dumps(report.as_dict(flag), indent=2))
    elif not namespace.quiet:
        print(report.summary(flag))
    return 0


def job_options(namespace: argparse.Namespace) -> JobOptions:
    """Return the job that the arguments describe.

    Raises:
        UsageError: a value or a script cannot be used, or options do not go together.
        MediaError: the folder is no prepared clip.
    """
    names = [field.name for field in dataclasses.fields(JobFiles)]
    files = JobFiles(**{name: getattr(namespace, name) for name in names})
    return job_of(files, given_job_options(namespace), "cli")


def build_parser(other_commands: str = "") -> argparse.ArgumentParser:
    """Describe the command line; `other_commands` is shown at the end of the help."""
    parser = OneLineParser(
        prog="lipsync",
        description="Lip-sync the speaker of a video to recorded speech.",
        epilog=f"{EPILOG}{other_commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--video", type=Path, help="video or still image that shows the speaker")
    source.add_argument(
        "--prepared", type=Path, metavar="FOLDER", help="clip that lipsync prepare analysed, in place of a video"
    )
    add_voice_arguments(parser)
    parser.add_argument("--output", type=Path, help="file to write: .mp4, .mov, .mkv or .webm")
    add_job_options(parser)
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable report on stdout")
    parser.add_argument("--quiet", action="store_true", help="print only errors (and the report of --json)")
    parser.add_argument("--log-json", action="store_true", help="log to stderr as JSON, one line per request")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def add_voice_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files that say what is said, and by whom."""
    parser.add_argument("--audio", type=Path, help="the speech: an audio file, or a video with sound")
    parser.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help="who speaks when, with which voice and face (JSON), in place of --audio",
    )
    parser.add_argument(
        "--diarization",
        type=Path,
        metavar="FILE",
        help="who speaks when in the audio: RTTM, or JSON {speaker, start, end}",
    )
    parser.add_argument(
        "--speaker-boxes",
        type=Path,
        metavar="FILE",
        help="faces of those who speak, frame by frame: the JSON that NVIDIA's LipSync NIM reads",
    )


def _missing_files(namespace: argparse.Namespace) -> list[str]:
    source = namespace.video or namespace.prepared
    voice = namespace.audio or namespace.script
    files = {"--video": source, "--audio": voice, "--output": namespace.output}
    return [name for name, path in files.items() if path is None]
