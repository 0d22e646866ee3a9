"""Memory of processes, as psutil reads it from Linux: of a whole process tree, and its peak while something runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

from perf.machine.sampler import Sampler

MIN_PAUSE_S = 0.05
PAUSE_PER_SAMPLE = 20  # sampling takes at most a twentieth of the time that is measured
MB = 1_000_000


class MemorySampler(Sampler):
    """Samples the memory of a process tree in a thread and keeps the peak."""

    def __init__(self, pid: int) -> None:
        """Watch the process with this id and all its descendants."""
        super().__init__()
        self.peak_mb = 0.0
        self._pid = pid

    def look(self) -> float:
        """Add up the tree's memory; returns the pause until the next sample, longer for larger trees."""
        started = time.perf_counter()
        self.peak_mb = max(self.peak_mb, tree_bytes(self._pid) / MB)
        return max(MIN_PAUSE_S, PAUSE_PER_SAMPLE * (time.perf_counter() - started))


def tree_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants, in bytes; memory that they share counts once.

    Processes that end meanwhile count as 0.
    """
    total = 0
    for process in process_tree(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def private_bytes(pids: Iterable[int]) -> int:
    """Return the memory that processes share with no other process, in bytes.

    Raises:
        NoSuchProcess: one of them has ended.
    """
    return sum(psutil.Process(pid).memory_full_info().uss for pid in pids)


def open_files(pids: Iterable[int]) -> int:
    """Return how many file descriptors processes have open.

    Raises:
        NoSuchProcess: one of them has ended.
    """
    return sum(psutil.Process(pid).num_fds() for pid in pids)


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; empty once it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
