"""Notices that a tritonserver was frozen, as a paused container or a suspended machine is.

If a model's process is frozen during a request, Triton 2.51 gives the process up. From then on requests to that
model fail, hang, or get the answer of an earlier request, although the process goes on as before.
"""

from __future__ import annotations

import time
from pathlib import Path

from lipsync_core.serving.processes import descendants

STOPPED = "T"
LOOK_EVERY_S = 0.1
FROZEN_S = 1.0  # after which Triton gives a model's process up; source: its Python backend
PAUSED_S = 5.0  # between two looks, so that we stood still too


class FreezeWatch:
    """Detects that the processes of one server stand still. Call `look` repeatedly."""

    def __init__(self, server_pid: int) -> None:
        """Watch this process and all its descendants."""
        self._pids = descendants(server_pid)
        self._looked_at_s = time.monotonic()
        self._frozen_s = 0.0
        self._work = 0

    def look(self) -> bool:
        """Return whether the server was frozen; most calls return at once."""
        since_s = time.monotonic() - self._looked_at_s
        if since_s < LOOK_EVERY_S:
            return False
        self._looked_at_s += since_s
        found = [_state_and_work(pid) for pid in self._pids]
        work = sum(ticks for _, ticks in found)
        stands_still = work == self._work and any(state == STOPPED for state, _ in found)
        self._frozen_s, self._work = (self._frozen_s + since_s if stands_still else 0.0), work
        return self._frozen_s > FROZEN_S or since_s > PAUSED_S


def _state_and_work(pid: int) -> tuple[str, int]:
    """Return a process's state, a letter, and its CPU time so far in clock ticks; source: man 5 proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0  # it ended
    return fields[0], int(fields[11]) + int(fields[12])
