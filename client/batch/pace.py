"""How fast a batch goes, as a whole and on each machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

MINUTE_S = 60.0


class Pace:
    """Counts jobs as they end.

    Attributes:
        failed: how many of them failed.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now, with so many jobs to run."""
        self._total = total
        self._clock = clock
        self._began = clock()
        self._ended = 0
        self.failed = 0
        self._by_node: Counter[str] = Counter()

    def count(self, entry: Mapping[str, object]) -> None:
        """Count a job by its line of the report."""
        self._ended += 1
        self.failed += entry["status"] != "done"
        if entry.get("node"):
            self._by_node[str(entry["node"])] += 1

    def place(self) -> str:
        """Return how many have ended, such as 3/10."""
        return f"{self._ended}/{self._total}"

    def words(self) -> str:
        """Return percent, speed and the time left, such as `30 %, 12.5 a minute, 0:05:36 left`."""
        left_s = round((self._clock() - self._began) / max(1, self._ended) * (self._total - self._ended))
        hours, seconds = divmod(left_s, 3600)
        time_left = f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
        return f"{self._ended * 100 // max(1, self._total)} %, {self._a_minute(self._ended)} a minute, {time_left} left"

    def by_node(self) -> dict[str, dict[str, float]]:
        """Return the jobs of each machine, and how many a minute; empty if all ran in this process's own."""
        return {
            node: {"jobs": jobs, "jobs_per_minute": self._a_minute(jobs)}
            for node, jobs in sorted(self._by_node.items())
        }

    def _a_minute(self, jobs: int) -> float:
        return round(jobs * MINUTE_S / max(1e-3, self._clock() - self._began), 1)
