"""Where the files are that a script names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from client.errors import UsageError

FindFile = Callable[[str], Path]  # a name in a script -> the file; raises UsageError without a place in the script


def files_beside(script: Path) -> FindFile:
    """Find files by paths that are absolute, or relative to a script's folder."""
    return lambda name: checked_path(str(script.parent / name))


def checked_path(text: str) -> Path:
    """Return a path.

    Raises:
        UsageError: no file can have it.
    """
    if not is_path(text):
        raise UsageError(expected="a path that a file can have", got="NUL or characters that cannot be encoded")
    return Path(text)


def is_path(text: str) -> bool:
    """Return whether a file could have this path."""
    return "\0" not in text and text == text.encode(errors="ignore").decode()
