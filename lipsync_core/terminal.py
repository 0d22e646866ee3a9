"""What a program says and hears: output that cannot be written never stops it, and Ctrl-C ends it in one line."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

STDIN, STDOUT, STDERR = range(3)  # descriptors
EXIT_INTERRUPTED = 128 + signal.SIGINT  # as shells have it
READER_LEFT = errno.EPIPE


class _Forgiving(io.FileIO):
    """A standard stream that accepts everything; what cannot be written is lost.

    Attributes:
        problem: why something was lost; None if nothing was.
    """

    problem: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write what can be written, and claim the rest."""
        try:
            return super().write(data)
        except OSError as error:
            self.problem = self.problem or error
            return memoryview(data).nbytes


def forgive_streams() -> None:
    """Let the program outlive its terminal: replace stdout and stderr by streams that lose what cannot be written.

    Streams that are closed lead nowhere from now on; left closed, the next file that is opened would take their place
    and receive what is printed. Characters that the terminal's encoding lacks are written as escapes.
    """
    for number in (STDIN, STDOUT, STDERR):
        _open_if_closed(number)
    sys.stdout, sys.stderr = _forgiving(sys.stdout, STDOUT), _forgiving(sys.stderr, STDERR)


def output_problem() -> OSError | None:
    """Return why something printed on stdout was lost; None if nothing was, or if its reader wanted no more."""
    with suppress(OSError, ValueError):  # a stream of another kind
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    problem = raw.problem if isinstance(raw, _Forgiving) else None
    return None if problem is None or problem.errno == READER_LEFT else problem


@contextmanager
def interrupts_end(program: str) -> Iterator[None]:
    """Wrap a program's imports: Ctrl-C ends it at once, in one line, as there is nothing to clean up yet.

    An exception would not do: packages that are being imported turn it into errors of their own.

    Args:
        program: what the line begins with.
    """

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (the signal module's own signature)
        with suppress(OSError):
            os.write(STDERR, f"{program}: interrupted\n".encode())
        os._exit(EXIT_INTERRUPTED)

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _open_if_closed(number: int) -> None:
    """Let a closed descriptor lead nowhere, for child processes too; those below it must be open."""
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _forgiving(stream: TextIO | None, number: int) -> TextIO:
    is_original = stream is None or stream in (sys.__stdout__, sys.__stderr__)
    if not is_original or (sys.platform == "win32" and stream is not None and stream.isatty()):
        assert stream is not None
        return stream  # a test's or a notebook's own; a Windows console, which takes text and not bytes
    with suppress(OSError):
        if stream is not None:
            stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=number == STDERR or getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )
