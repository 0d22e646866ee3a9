"""Command line of the exports: one command per family of networks."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from lipsync_core.extras import needs_extra
from lipsync_core.terminal import forgive_streams, interrupts_end

with interrupts_end("export"), needs_extra("export,torch"):
    from export.engines import command as engines
    from export.faces import command as faces
    from export.flavours import command as flavours
    from export.latentsync import command as latentsync
    from export.mouth_cover import command as mouth_cover
    from export.mouth_shapes import command as mouth_shapes
    from export.musetalk import command as musetalk
    from export.syncnet import command as syncnet
    from export.vae import command as vae
    from export.voice import command as voice
    from export.wav2lip import command as wav2lip
    from export.whisper import command as whisper

FAMILIES = (faces, voice, whisper, vae, wav2lip, latentsync, musetalk, syncnet)
FITS = (mouth_shapes, mouth_cover)
COMMANDS = tuple(module.COMMAND for module in (*FAMILIES, *FITS, engines, flavours))
EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; a failure prints one line."""
    forgive_streams()
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
    except KeyboardInterrupt:
        print(f"export {arguments.command.name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
