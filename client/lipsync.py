"""The command `lipsync`: a video and a speech in, the same video saying that speech out."""

from __future__ import annotations

import json
import logging
import signal
import sys
import traceback
from collections.abc import Sequence

from client.batch import batch_command
from client.cli.arguments import build_parser, job_options, server_options
from client.errors import LipSyncError, ServerUnavailable
from client.job import Job
from client.logs import LogProgress, set_up_logs, take_down_logs
from client.progress import open_progress
from client.servers.embedded import open_pool, serve_command, weights_warnings
from client.system import ending_signals, return_freed_frames
from lipsync_core.serving.runtime import ServerStartError

log = logging.getLogger("client.lipsync")  # under its own name it is __main__

EXIT_INTERNAL = 1
EXIT_SIGNAL = 128  # plus the signal's number


class EndedBySignal(SystemExit):
    """A signal that asked the program to end, with the exit code that shells give for it."""

    def __init__(self, number: int) -> None:
        """Keep the signal's name for people."""
        super().__init__(EXIT_SIGNAL + number)
        self.exit_code = EXIT_SIGNAL + number
        self.name = signal.Signals(number).name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end_on_signals()
    return_freed_frames()
    verbose = "--verbose" in arguments
    handler = set_up_logs(as_json="--log-json" in arguments, quiet="--quiet" in arguments)
    try:
        if arguments[:1] == ["serve"]:
            return serve_command(arguments[1:])
        if any(argument.partition("=")[0] == "--batch" for argument in arguments):
            return batch_command(arguments)
        return sync_command(arguments)
    except KeyboardInterrupt as error:
        text = f"interrupted{_notes(error)}"
        return _report_error(LipSyncError(text), EXIT_SIGNAL + signal.SIGINT, verbose=verbose)
    except EndedBySignal as error:
        text = f"ended by {error.name}{_notes(error)}"
        return _report_error(LipSyncError(text), error.exit_code, verbose=verbose)
    except LipSyncError as error:
        return _report_error(error, error.exit_code, verbose=verbose)
    except ServerStartError as error:
        return _report_error(error, ServerUnavailable.exit_code, verbose=verbose)
    except Exception as error:  # noqa: BLE001  (people get one line; --verbose shows the traceback)
        text = f"{type(error).__name__}: {error}. This is a defect of the program; --verbose shows where"
        return _report_error(LipSyncError(text), EXIT_INTERNAL, verbose=verbose)
    finally:
        take_down_logs(handler)


def sync_command(arguments: Sequence[str]) -> int:
    """Lip-sync one video; returns 0."""
    options = build_parser().parse_args(arguments)
    job_settings = job_options(options)
    shown = LogProgress(job_settings.job_id) if options.log_json else open_progress(quiet=options.quiet)
    with Job(job_settings) as job, shown as progress:
        progress.stage("starting the server" if options.url is None else "connecting")
        servers, pool_settings = server_options(options)
        with open_pool(servers, options.model_repository, job_settings.needed_models, pool_settings) as (pool, start_s):
            report = job.run(pool, progress, start_s)
    if servers is None:
        report.warnings += weights_warnings(options.model_repository, job_settings.needed_models)
    if options.json:
        print(json.dumps(report.as_dict(), indent=2))
    elif not options.quiet:
        print(report.summary())
    return 0


def _report_error(error: Exception, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    log.error("%s%s", error, _notes(error), extra={"exit_code": code})
    return code


def _notes(error: BaseException) -> str:
    """Join what was noted on an error's way out."""
    return "".join(f". {note[:1].upper()}{note[1:]}" for note in getattr(error, "__notes__", ()))


def end_on_signals() -> None:
    """Turn the signals that end a program into an exception, so that contexts close; nohup keeps its own."""
    for number in ending_signals():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:  # noqa: ARG001  (the signal module's own signature)
    raise EndedBySignal(number)


if __name__ == "__main__":
    sys.exit(main())
