"""Memory of a process with all that it started, as long as it runs."""

from __future__ import annotations

import time
from pathlib import Path

from lipsync_core.serving.server import descendants
from perf.machine.sampler import Sampler

SHORTEST_PAUSE_S = 0.05
PAUSE_PER_LOOK = 20  # looking takes at most a twentieth of the time that it measures
KIB, MB = 1024, 1_000_000


class MemorySampler(Sampler):
    """Adds up the proportional memory of a process tree in a thread, and keeps the largest sum."""

    def __init__(self, pid: int) -> None:
        """Choose the tree's root."""
        super().__init__()
        self.peak_mb = 0.0
        self._pid = pid

    def look(self) -> float:
        """Add up what the tree has now; the larger it is, the longer the pause."""
        started = time.perf_counter()
        self.peak_mb = max(self.peak_mb, tree_bytes(self._pid) / MB)
        return max(SHORTEST_PAUSE_S, PAUSE_PER_LOOK * (time.perf_counter() - started))


def tree_bytes(pid: int) -> int:
    """Memory of a process and its descendants; what several share counts once."""
    return sum(proportional_bytes(member) for member in descendants(pid))


def proportional_bytes(pid: int) -> int:
    """Memory of one process, shared pages divided among those that share them; 0 when it ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * KIB
