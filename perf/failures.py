"""How the commands fail: one line on stderr, and the same exit codes as `lipsync`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from client.errors import LipSyncError, ServerUnavailable
from client.option import flag
from lipsync_core.serving.runtime import ServerStartError


def run_command(name: str, command: Callable[[], int | None]) -> int:
    """Run a command; returns its exit code, or that of its error. No exit code counts as 0."""
    try:
        return command() or 0
    except LipSyncError as error:
        return _fail(name, error.text(flag), error.exit_code)
    except ServerStartError as error:
        return _fail(name, str(error), ServerUnavailable.exit_code)
    except (ValueError, OSError) as error:
        return _fail(name, str(error), LipSyncError.exit_code)


def _fail(name: str, line: str, code: int) -> int:
    print(f"{name}: {line}", file=sys.stderr)
    return code
