"""What differs between operating systems: signals and memory. Can be imported on all of them."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

KIB, MB = 1024, 1_000_000  # bytes
M_MMAP_THRESHOLD = -3  # option of mallopt; source: malloc.h of glibc
FRAME_SIZED_BYTES = 1 << 20
MATRIX_SIZE = 256  # large enough for a work area; smaller products need none
THREADS = Path("/proc/self/task")


def ending_signals() -> list[signal.Signals]:
    """List the signals of this system that ask a program to end, except Ctrl-C's."""
    return [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def peak_memory_mb() -> float:
    """Measure the largest resident memory of this process so far, in MB; 0 where the system does not tell."""
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else KIB) / MB, 1)  # macOS counts bytes, the others KiB


def return_freed_frames() -> None:
    """Make glibc map each frame separately, so that its memory returns to the system when it is freed."""
    with contextlib.suppress(OSError, AttributeError):  # another C library does as it likes
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, FRAME_SIZED_BYTES)


def has_room(size: int) -> bool:
    """Say whether the process would get that many bytes of memory now; takes none of them."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, OverflowError):
        return False
    return True


def reserve_matrix_memory() -> None:
    """Make OpenBLAS, which NumPy multiplies with, allocate its work area now.

    When the allocation fails it retries forever and ignores signals; memory may be short later in a job.
    """
    import numpy as np  # noqa: PLC0415  (programs import this module before they can be interrupted)

    square = np.ones((MATRIX_SIZE, MATRIX_SIZE), np.float32)
    np.matmul(square, square)


@contextlib.contextmanager
def kept_scheduling() -> Iterator[None]:
    """Restore the scheduling policy of all threads of this process at the end of the context.

    As root, SVT-AV1 gives its threads and the calling one the highest real-time priority. Children inherit it, and
    everything else on the machine waits for them.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in map(int, os.listdir(THREADS)):
            with contextlib.suppress(OSError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)


def has_shared_memory() -> bool:
    """Say whether frames can reach a server on this host through /dev/shm."""
    return sys.platform == "linux"
