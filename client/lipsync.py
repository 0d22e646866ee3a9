"""The command `lipsync`: runs one of its commands, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Sequence

from lipsync_core.terminal import forgive_streams, interrupts_end, output_problem

with interrupts_end("lipsync"):
    from client.cli.commands import Command, choose_command
    from client.errors import LipSyncError, OutputError, ServerUnavailable
    from client.logs import set_up_logs, take_down_logs
    from client.option import flag
    from client.process import EXIT_SIGNAL, EndedBySignal, end_on_signals
    from client.servers.embedded import start_error
    from client.shortage import shortage_of
    from client.system import return_freed_frames
    from lipsync_core.serving.runtime import ServerStartError

log = logging.getLogger("client.lipsync")  # under its own name it is __main__

EXIT_INTERNAL = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    forgive_streams()
    end_on_signals()
    return_freed_frames()
    verbose = "--verbose" in arguments
    handler = set_up_logs(as_json="--log-json" in arguments, quiet="--quiet" in arguments)
    try:
        command, own_arguments = choose_command(arguments)
        code = command.run(own_arguments)
        _check_output(command)
        return code
    except KeyboardInterrupt as error:
        return _report_error(error, "interrupted", EXIT_SIGNAL + signal.SIGINT, verbose=verbose)
    except EndedBySignal as error:
        return _report_error(error, f"ended by {error.name}", error.exit_code, verbose=verbose)
    except LipSyncError as error:
        return _report_error(error, error.text(flag), error.exit_code, verbose=verbose)
    except ServerStartError as error:
        return _report_error(error, start_error(error).text(flag), ServerUnavailable.exit_code, verbose=verbose)
    except Exception as error:  # noqa: BLE001  (people get one line; --verbose shows the traceback)
        short = shortage_of(error)
        if short is not None:
            return _report_error(error, short.text(flag), short.exit_code, verbose=verbose)
        text = f"{type(error).__name__}: {error}. This is a bug; --verbose shows where"
        return _report_error(error, text, EXIT_INTERNAL, verbose=verbose)
    finally:
        take_down_logs(handler)


def _check_output(command: Command) -> None:
    """Tell that what a command printed was lost; a job's files are in place all the same.

    Raises:
        OutputError: what the command printed was all its result.
    """
    problem = output_problem()
    if problem is None:
        return
    error = OutputError(about="stdout", expected="room for what is printed", got=problem.strerror)
    if command.only_prints:
        raise error
    log.warning("%s", error)


def _report_error(error: BaseException, text: str, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    notes = "".join(f". {note[:1].upper()}{note[1:]}" for note in getattr(error, "__notes__", ()))
    log.error("%s%s", text, notes, extra={"exit_code": code})
    return code


if __name__ == "__main__":
    sys.exit(main())
