"""Failures of the measuring commands: one line on stderr, and the exit code that `lipsync` has for them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from client.errors import LipSyncError, ServerUnavailable
from lipsync_core.serving.runtime import ServerStartError


def run_command(name: str, command: Callable[[], int | None]) -> int:
    """Run a command; returns its exit code, 0 where it gives none."""
    try:
        return command() or 0
    except LipSyncError as error:
        return _say(name, error, error.exit_code)
    except ServerStartError as error:
        return _say(name, error, ServerUnavailable.exit_code)
    except (ValueError, OSError) as error:
        return _say(name, error, LipSyncError.exit_code)


def _say(name: str, error: Exception, code: int) -> int:
    print(f"{name}: {error}", file=sys.stderr)
    return code
