"""`lipsync live`: shows a prepared clip that says what is still being spoken."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from client.cli.parser import OneLineParser, add_options, given_job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.errors import UsageError
from client.live.clips import CLIPS_VARIABLE, ClipStore
from client.live.engine import live_models, live_options, live_values
from client.live.messages import MODEL as LIVE_MODEL
from client.live.output import LiveOutput
from client.live.run import stream_voice
from client.live.settings import DEFAULT_RATE, Pace, SlowReader
from client.live.sound import voice_of_file, voice_of_pipe
from client.live.stream import LiveSession
from client.media.output import check_no_input
from client.servers.access import ServerAccess
from client.servers.embedded import open_server

PIPE = "-"


def live_command(arguments: Sequence[str]) -> int:
    """Stream one voice; returns 0."""
    namespace = build_parser().parse_args(arguments)
    access = server_access(namespace)
    options = given_job_options(namespace)
    if namespace.audio == PIPE:
        stdin = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115  (it stays open)
        rate, voice = namespace.rate, voice_of_pipe(stdin, namespace.rate)
    else:
        check_no_input(Path(namespace.output), [Path(namespace.audio)])
        rate, voice = voice_of_file(Path(namespace.audio))
    with (
        _server(access, namespace, options) as url,
        LiveSession(
            url,
            namespace.clip,
            rate=rate,
            options=options,
            pace=namespace.pace,
            slow_reader=namespace.slow_reader,
            security=access.security,
        ) as live,
    ):
        target = sys.stdout.buffer if namespace.output == PIPE else namespace.output
        report = stream_voice(live, voice, lambda: LiveOutput(target, live.facts))
    told = json.dumps(dataclasses.asdict(report), indent=2) if namespace.json else report.summary()
    if namespace.json or not namespace.quiet:
        print(told, file=sys.stderr if namespace.output == PIPE else sys.stdout)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync live",
        description="Show a prepared clip that says what is still being spoken, in real time. In silence it idles with"
        " its mouth closed.",
    )
    parser.add_argument("--clip", required=True, metavar="NAME", help="prepared clip, by its name on the server")
    parser.add_argument(
        "--audio",
        required=True,
        metavar="FILE",
        help="the voice: a file with sound, or - for raw samples from stdin, 16-bit little-endian mono",
    )
    parser.add_argument(
        "--rate", type=_rate, default=DEFAULT_RATE, metavar="HZ", help="rate of raw samples (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE|URL",
        help="fragmented mp4, which plays while it grows: a file, or - for stdout; or a URL of rtmp, rtmps or srt",
    )
    parser.add_argument(
        "--pace",
        choices=get_args(Pace),
        default="real_time",
        help="real_time shows pictures at their times; fast draws them as soon as their voice is there (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--slow-reader",
        choices=get_args(SlowReader),
        default="drop",
        help="where the output is too slow, leave out pictures (drop) or stop the clock (hold) (default: %(default)s)",
    )
    parser.add_argument(
        "--clips",
        type=Path,
        metavar="DIR",
        help=f"folder of the prepared clips, for a server that is started (default: ${CLIPS_VARIABLE})",
    )
    add_options(parser, live_options())
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable report")
    parser.add_argument("--quiet", action="store_true", help="print only errors (and the report of --json)")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


@contextmanager
def _server(access: ServerAccess, namespace: argparse.Namespace, options: dict[str, object]) -> Iterator[str]:
    """Give the URL of the user's server, or start one with what the clip needs."""
    if access.urls:
        if len(access.urls) > 1 or "," in access.urls[0]:
            raise UsageError(option="url", expected="one server for a stream", got="several")
        yield access.urls[0]
        return
    clips = namespace.clips or os.environ.get(CLIPS_VARIABLE)
    if not clips:
        raise UsageError(
            option="clips", expected="the folder of the clips, or a running server", got="neither", advice="Give one"
        )
    values = live_values(ClipStore(Path(clips)).find(namespace.clip), options)
    os.environ[CLIPS_VARIABLE] = str(Path(clips).absolute())  # the server inherits it
    with open_server(None, namespace.model_repository, (LIVE_MODEL, *live_models(values))) as (url, _):
        yield url


def _rate(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number of Hz, got {text!r}")
    return int(text)
