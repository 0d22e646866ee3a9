"""Command line of the exports: one sub-command per family of networks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lipsync_core.extras import needs_extra

with needs_extra("export,torch"):
    from export.engines import command as engines
    from export.faces import command as faces
    from export.flavours import command as flavours
    from export.latentsync import command as latentsync
    from export.wav2lip import command as wav2lip

# Each module: docstring, add_arguments(parser), run(arguments). Its command is called after its package.
COMMANDS = {module.__name__.split(".")[1]: module for module in (faces, wav2lip, latentsync, engines, flavours)}
EXIT_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one export and return the exit code; a failure prints one line."""
    parser = argparse.ArgumentParser(prog="python -m export", description="Published weights -> model repository.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args(argv)
    try:
        COMMANDS[arguments.command].run(arguments)
    except (ValueError, OSError) as error:
        print(f"export {arguments.command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
