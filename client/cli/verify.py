"""`lipsync verify`: says what can be known of a file's origin. Needs no server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from client.cli.parser import OneLineParser
from client.errors import UsageError
from client.provenance.findings import EXIT_CODES, examine


def verify_command(arguments: Sequence[str]) -> int:
    """Examine one file; returns one of EXIT_CODES.

    Raises:
        MediaError: the file cannot be read.
        UsageError: the trusted certificates cannot be read.
    """
    namespace = build_parser().parse_args(arguments)
    found = examine(namespace.file, _anchors(namespace.trust))
    print(json.dumps(found.as_dict(), indent=2) if namespace.json else found.text())
    return found.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    codes = "\n".join(f"  {code:<3} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = OneLineParser(
        prog="lipsync verify",
        description="Say what can be known of a video's origin: its signed credentials, and the mark.",
        epilog=f"exit codes:\n{codes}\n  2, 3  wrong usage; the file cannot be read",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the video; its credentials may be in FILE.c2pa")
    parser.add_argument(
        "--trust", type=Path, metavar="PEM", help="certificates of authorities that you trust to vouch for signers"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _anchors(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        got = f"{path} ({getattr(error, 'strerror', 'not text')})"
        raise UsageError(option="trust", expected="certificates in PEM form", got=got) from error
