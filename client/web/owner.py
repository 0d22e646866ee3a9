"""Names the processes that claim jobs, and says whether one has ended, which is known of processes of this host."""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path

START_FIELD = 22  # of /proc/PID/stat: when the process started, in ticks since boot; source: man 5 proc
GONE = ("Z", "X")  # states of processes that have ended


def new_owner() -> str:
    """Return a name for whoever claims jobs in this process; no other has it."""
    return f"{process_name(os.getpid())}/{secrets.token_hex(4)}"


def process_name(pid: int) -> str:
    """Return a process's name: its host, id and start."""
    return f"{_host()}/{pid}/{_started(pid) or 0}"


def is_dead(name: str) -> bool:
    """Return whether a process has ended. False if that cannot be known, because it is on another host."""
    host, pid, started = name.split("/")[:3]
    return host == _host() and _started(int(pid)) != int(started)


@cache
def _host() -> str:
    """Return what processes that see each other have in common: the boot of a machine, and a container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"


def _started(pid: int) -> int | None:
    """Return when a process started; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()  # a program's name may have spaces
    return None if state in GONE else int(fields[START_FIELD - 4])
