"""Locks files against other processes. Imports and runs on every system."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_file(number: int) -> None:
    """Lock an open file for this process alone, until the file is closed.

    Args:
        number: The file's descriptor.

    Raises:
        BlockingIOError: Another process has locked it.
        OSError: The system or the disk has no file locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no file locks on this system")
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
