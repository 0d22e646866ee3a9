"""Turns signals that ask a process to end into an exception, so that every context is closed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from client.system import ending_signals

PR_SET_PDEATHSIG = 1  # prctl option: signal for a child whose parent dies; source: man 2 prctl
EXIT_SIGNAL = 128  # plus the signal's number
END_WITH_PARENT = "--end-with-parent"  # argument of processes, followed by the parent's id


class EndedBySignal(SystemExit):
    """A signal asked the program to end; carries the exit code that shells expect for it."""

    def __init__(self, number: int) -> None:
        """Keep the signal's name for people."""
        super().__init__(EXIT_SIGNAL + number)
        self.exit_code = EXIT_SIGNAL + number
        self.name = signal.Signals(number).name


def end_on_signals() -> None:
    """Turn the signals that end a program into an exception; those that nohup ignores stay ignored."""
    for number in ending_signals():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def end_with_parent(parent: int | None = None) -> None:
    """End by SIGTERM when the thread that started this process is gone, also by kill -9; Ctrl-C is left to it.

    Call it early, after `end_on_signals`. Does nothing but that on systems other than Linux.

    Args:
        parent: id of the process that started this one, if known: it may be gone before this one asks for a signal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if parent is not None and os.getppid() != parent:
            signal.raise_signal(signal.SIGTERM)


def end_with_named_parent(arguments: Sequence[str]) -> None:
    """Do as `end_with_parent` where the command line says so."""
    if END_WITH_PARENT in arguments:
        end_with_parent(int(arguments[arguments.index(END_WITH_PARENT) + 1]))


def _leave(number: int, frame: object) -> None:  # noqa: ARG001  (the signal module's own signature)
    raise EndedBySignal(number)
