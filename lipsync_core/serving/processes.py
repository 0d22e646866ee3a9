"""The processes of a tritonserver: its descendants, and the stubs that run its Python models.

Triton 2.51 runs each instance of a model of the Python backend in a process of its own, a stub, and the Python-based
backends for networks do so too. When a stub dies, Triton goes on, says that it and the model are ready, and fails every
later request to that model.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

STUB = "triton_python_backend_stub"
INSTANCE = re.compile(rb"(.+)_\d+_\d+")  # what a stub calls itself: model, group, number
ZOMBIE = "Z"
LOOK_EVERY_S = 0.5
LIST_EVERY_S = 15.0  # a server has hundreds of threads, each with its own list of children, and starts stubs once
STARTING_S = 120.0  # for which a server that was just started may still start stubs
NAME_SHOWN = 15  # letters of a program's name in /proc/PID/stat
DIED = "died"  # first word of the supervisor's line about a model's process
FROZEN = "frozen"  # its line about a server that was
WATCHING = "watching"  # its line once it knows the model of every process
EXIT_CODE_FIELD = 52  # of /proc/PID/stat; source: man 5 proc


class DeadStub(NamedTuple):
    """A stub that died while its server lives.

    Attributes:
        model: the model that it ran, or "unknown".
        code: its exit code, negative for a signal.
    """

    model: str
    code: int


class StubWatch:
    """Looks for stubs of one server that died. Call `look` repeatedly."""

    def __init__(self, server_pid: int, *, starting: bool = False) -> None:
        """Watch the children of a process.

        Args:
            server_pid: The server; of children that are dead already, the model is not known.
            starting: Whether it has yet to start its children; then they are looked for at every look for a while.
        """
        self._server_pid = server_pid
        self._starting_until_s = time.monotonic() + STARTING_S if starting else 0.0
        self._models: dict[int, str] = {}
        self._dead: set[int] = set()
        self._look_at_s = 0.0
        self._list()

    def look(self) -> DeadStub | None:
        """Return a stub that was dead at the previous look too; stubs that Triton itself ends are gone by then.

        Most calls return at once: the processes are looked at every LOOK_EVERY_S.
        """
        if time.monotonic() < self._look_at_s:
            return None
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        if time.monotonic() >= self._list_at_s or time.monotonic() < self._starting_until_s:
            self._list()
        dead = set()
        for pid in self._children:
            code = _zombie_code(pid)
            if code is not None and pid in self._dead:
                return DeadStub(self._models.get(pid, "unknown"), code)
            if code is not None:
                dead.add(pid)
        self._dead = dead
        return None

    def look_after_crash(self) -> DeadStub | None:
        """Return a stub that had died before its server crashed, as Triton may when a request meets a dead stub.

        The caller has to be the subreaper of both, so that what the server leaves is still there. Stubs that end
        since their server is gone do so by themselves: only those killed by a signal, or seen dead before, count.
        """
        for pid in self._children:
            code = _zombie_code(pid)
            if code is not None and (code < 0 or pid in self._dead):
                return DeadStub(self._models.get(pid, "unknown"), code)
        return None

    def _list(self) -> None:
        self._list_at_s = time.monotonic() + LIST_EVERY_S
        self._children = _children(self._server_pid)
        for pid in self._children:
            self._remember(pid)

    def _remember(self, pid: int) -> None:
        """Keep the name of a stub's model; the dead have none."""
        with contextlib.suppress(OSError):
            program, *arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            names = [match[1].decode() for argument in arguments if (match := INSTANCE.fullmatch(argument))]
            if Path(os.fsdecode(program)).name == STUB and names:
                self._models[pid] = names[-1]


def death_words(dead: DeadStub) -> str:
    """Describe the death of a stub, for the error of its server."""
    return f"since the process of its model {dead.model} died, {code_words(dead.code)}"


def ending_words(exit_line: str) -> str:
    """Turn the supervisor's `exit CODE`, `died MODEL CODE` or `frozen` into words."""
    kind, *words = exit_line.split() or [""]
    if kind == DIED:
        return death_words(DeadStub(words[0], int(words[1])))
    if kind == FROZEN:
        return "since it was frozen for a while"
    return code_words(int(words[0])) if words else "without a word"


def code_words(code: int) -> str:
    """Turn an exit code into words; lack of memory is what most often lies behind a signal."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name} (is there enough memory?)"


def descendants(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants, from /proc; those that end meanwhile may be missing."""
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found


def _children(pid: int) -> list[int]:
    """Return the ids of the processes that a process's threads have started."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # this thread did
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _zombie_code(pid: int) -> int | None:
    """Return the exit code of a stub that ended and was not waited for; None for any other process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    before, _, after = stat.rpartition(")")  # the name may hold brackets too
    state, *fields = after.split()
    if state != ZOMBIE or before.partition("(")[2] != STUB[:NAME_SHOWN]:
        return None
    return os.waitstatus_to_exitcode(int(fields[EXIT_CODE_FIELD - 4]))
