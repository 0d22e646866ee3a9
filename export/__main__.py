"""Command line of the exports: one command per family of networks."""

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
    from export.vae import command as vae
    from export.wav2lip import command as wav2lip
    from export.whisper import command as whisper

COMMANDS = tuple(module.COMMAND for module in (faces, whisper, vae, wav2lip, latentsync, engines, flavours))
EXIT_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; a failure prints one line."""
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Convert published weights to models in the model repository."
    )
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        description = f"{command.summary[0].upper()}{command.summary[1:]}."
        chosen = choices.add_parser(command.name, help=command.summary, description=description)
        command.add_arguments(chosen)
        chosen.set_defaults(command=command)
    arguments = parser.parse_args(argv)
    try:
        arguments.command.run(arguments)
    except (ValueError, OSError) as error:
        print(f"export {arguments.command.name}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
