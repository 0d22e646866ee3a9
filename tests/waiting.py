"""Waiting for what takes its time on a busy machine, and looking whether processes are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_until(holds: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Wait until something holds, and return it; generous, as machines may be busy."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody has asked for its exit code yet counts."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
