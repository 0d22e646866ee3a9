"""Memory of a process with all that it started, as long as it runs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from lipsync_core.serving.server import descendants

SAMPLE_INTERVAL_S = 0.3
KIB, MB = 1024, 1_000_000


class MemorySampler:
    """Adds up the proportional memory of a process tree in a thread, and keeps the largest sum."""

    def __init__(self, pid: int) -> None:
        """Choose the tree's root."""
        self.peak_mb = 0.0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="memory-sampler")

    def __enter__(self) -> MemorySampler:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL_S):
            self.peak_mb = max(self.peak_mb, tree_bytes(self._pid) / MB)


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
