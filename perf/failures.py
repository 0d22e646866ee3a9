"""Failures of the measuring commands: one line on stderr, and the exit code that `lipsync` has for them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from client.errors import LipSyncError, ServerUnavailable
from lipsync_core.serving.runtime import ServerStartError


def run_command(name: str, command: Callable[[], None]) -> int:
    """Run a command; returns its exit code."""
    try:
        command()
    except LipSyncError as error:
        return _say(name, error, error.exit_code)
    except ServerStartError as error:
        return _say(name, error, ServerUnavailable.exit_code)
    except (ValueError, OSError) as error:
        return _say(name, error, LipSyncError.exit_code)
    return 0


def _say(name: str, error: Exception, code: int) -> int:
    print(f"{name}: {error}", file=sys.stderr)
    return code
