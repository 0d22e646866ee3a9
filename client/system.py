"""What differs between operating systems: file locks, signals, memory. Imports and runs on all of them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import signal
import sys

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

KIB, MB = 1024, 1_000_000  # bytes
M_MMAP_THRESHOLD = -3  # option of mallopt; source: malloc.h of glibc
FRAME_SIZED_BYTES = 1 << 20


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


def ending_signals() -> list[signal.Signals]:
    """List the signals that ask a program to end, but for Ctrl-C; those that the system has."""
    return [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def peak_memory_mb() -> float:
    """Measure the largest resident memory of this process so far, in MB; 0 where the system does not tell."""
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else KIB) / MB, 1)  # macOS counts bytes, the others KiB


def return_freed_frames() -> None:
    """Have glibc map each frame on its own, so that its memory goes back to the system when it is freed."""
    with contextlib.suppress(OSError, AttributeError):  # another C library does as it likes
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, FRAME_SIZED_BYTES)


def has_shared_memory() -> bool:
    """Say whether frames can reach a server on this host through /dev/shm."""
    return sys.platform == "linux"
