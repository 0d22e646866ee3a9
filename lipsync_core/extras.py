"""Names the optional dependencies that a command needs, in one line instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_USAGE = 2
OURS = ("client", "export", "lipsync_core", "perf")


def install_advice(extra: str) -> str:
    """Return how to install an extra of pyproject.toml, or several, separated by commas."""
    return f"Install it with: pip install 'lipsync-triton[{extra}]'"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Wrap a command's imports: a missing package ends the program with the extra that brings it.

    Args:
        extra: The name of an extra in pyproject.toml, or several, separated by commas.

    Raises:
        SystemExit: A package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.partition(".")[0] in OURS:
            raise  # a defect of ours; no extra brings it
        print(f"{missing}: expected this package, got none. {install_advice(extra)}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from None
