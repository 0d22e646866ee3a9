"""`lipsync credentials init`: makes a certificate that signs results, and a local authority that issues it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from client.cli.parser import OneLineParser
from client.provenance.certificates import WHAT_IT_PROVES, make_credentials

DEFAULT_NAME = "lipsync user"


def credentials_command(arguments: Sequence[str]) -> int:
    """Make credentials in a folder; returns 0.

    Raises:
        UsageError: the folder holds some already, or a package is missing.
        OutputError: they cannot be written.
    """
    namespace = build_parser().parse_args(arguments)
    files = make_credentials(namespace.folder, namespace.name)
    print(f"Sign jobs with: --sign-cert {files.certificate} --sign-key {files.key}")
    print(f"Check them with: lipsync verify FILE --trust {files.authority}\n\n{WHAT_IT_PROVES}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(prog="lipsync credentials", description="Make credentials that sign results (C2PA).")
    actions = parser.add_subparsers(required=True, metavar="init", dest="action")
    init = actions.add_parser("init", help="make a local authority, and a certificate issued by it")
    init.add_argument("folder", type=Path, metavar="FOLDER", help="where to put them; without credentials yet")
    init.add_argument(
        "--name", default=DEFAULT_NAME, help="organisation that is named as the signer (default: %(default)s)"
    )
    init.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser
