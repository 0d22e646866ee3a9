"""What an accident may leave behind: processes, shared memory, files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

MARK = "LIPSYNC_CHAOS"  # environment variable that all processes of a case inherit
SHARED_MEMORY = Path("/dev/shm")
GRACE_S = 20.0  # for supervisors to notice and to clean up on a busy machine
POLL_S = 0.1


def marked_pids(token: str) -> list[int]:
    """Process ids of everything that a case started, however it got away from its parent."""
    needle = f"{MARK}={token}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if needle in process.joinpath("environ").read_bytes() and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def command_line(pid: int) -> str:
    """Return a process's command, empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill_all(pids: Iterable[int]) -> None:
    """End processes, also frozen ones."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def shared_memory_names() -> set[str]:
    """Names in /dev/shm."""
    return {path.name for path in SHARED_MEMORY.iterdir()}


def orphaned_memory(before: set[str]) -> list[str]:
    """Names in /dev/shm that are new and that no living process has mapped; other programs' own come and go."""
    new = shared_memory_names() - before
    if not new:
        return []
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            mapped += maps.read_text()
    return sorted(name for name in new if f"/{name}" not in mapped)


def files_in(folder: Path) -> list[str]:
    """Names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def settled(look: Callable[[], list[str]]) -> list[str]:
    """Look until nothing is seen; return what is still there after the grace."""
    deadline = time.monotonic() + GRACE_S
    while (seen := look()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return seen
