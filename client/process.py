"""Turns signals that ask a process to end into an exception, so that every context is closed."""

from __future__ import annotations

import signal

from client.system import ending_signals

EXIT_SIGNAL = 128  # plus the signal's number


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


def _leave(number: int, frame: object) -> None:  # noqa: ARG001  (the signal module's own signature)
    raise EndedBySignal(number)
