"""The command `lipsync`: runs one of its commands, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Sequence

from client.cli.commands import choose_command
from client.errors import LipSyncError, ServerUnavailable
from client.logs import set_up_logs, take_down_logs
from client.option import flag
from client.process import EXIT_SIGNAL, EndedBySignal, end_on_signals
from client.servers.embedded import start_error
from client.system import return_freed_frames
from lipsync_core.serving.runtime import ServerStartError

log = logging.getLogger("client.lipsync")  # under its own name it is __main__

EXIT_INTERNAL = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end_on_signals()
    return_freed_frames()
    verbose = "--verbose" in arguments
    handler = set_up_logs(as_json="--log-json" in arguments, quiet="--quiet" in arguments)
    try:
        command, own_arguments = choose_command(arguments)
        return command.run(own_arguments)
    except KeyboardInterrupt as error:
        return _report_error(error, "interrupted", EXIT_SIGNAL + signal.SIGINT, verbose=verbose)
    except EndedBySignal as error:
        return _report_error(error, f"ended by {error.name}", error.exit_code, verbose=verbose)
    except LipSyncError as error:
        return _report_error(error, error.text(flag), error.exit_code, verbose=verbose)
    except ServerStartError as error:
        return _report_error(error, start_error(error).text(flag), ServerUnavailable.exit_code, verbose=verbose)
    except Exception as error:  # noqa: BLE001  (people get one line; --verbose shows the traceback)
        text = f"{type(error).__name__}: {error}. This is a bug; --verbose shows where"
        return _report_error(error, text, EXIT_INTERNAL, verbose=verbose)
    finally:
        take_down_logs(handler)


def _report_error(error: BaseException, text: str, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    notes = "".join(f". {note[:1].upper()}{note[1:]}" for note in getattr(error, "__notes__", ()))
    log.error("%s%s", text, notes, extra={"exit_code": code})
    return code


if __name__ == "__main__":
    sys.exit(main())
