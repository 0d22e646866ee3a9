"""Tells a lack of memory or threads from other errors, in the words of each library. Imports none of them."""

from __future__ import annotations

import errno
import traceback

from client.errors import ShortageError
from client.system import MB, has_room

NO_MEMORY = ("Insufficient memory", "std::bad_alloc")  # OpenCV's words, and C++'s own
NO_THREAD = "can't start new thread"  # Python's words
AMPLE_BYTES = 256 * MB  # holds all but the largest frames; with this much free, memory is not short


def no_memory() -> ShortageError:
    """Return what the user is told about a lack of memory."""
    return ShortageError("memory ran out", advice="Free some, or raise its limit (ulimit -v)")


def shortage_of(error: BaseException) -> ShortageError | None:
    """Return what the user is told about a lack of memory or threads; None about any other error."""
    if _is_of_threads(error):
        return ShortageError(
            "no further thread could be started",
            advice="End other programs, or raise the limits of threads (ulimit -u) and memory (ulimit -v)",
        )
    if _is_of_memory(error):
        return no_memory()
    return None


def raise_if_short(error: BaseException) -> None:
    """Tell of a lack of memory or threads where other errors of a library mean that a file is bad.

    Raises:
        ShortageError: the error says that there is no more memory or no more threads.
    """
    short = shortage_of(error)
    if short is not None:
        raise short from error


def raise_if_no_room(error: BaseException, size: int) -> None:
    """Tell of a lack of memory where a library failed without a reason, and what it needs could not be had.

    Args:
        error: the library's error.
        size: what it needs, in bytes.

    Raises:
        ShortageError: there is not that much memory.
    """
    if not has_room(size):
        raise no_memory() from error


def _is_of_memory(error: BaseException) -> bool:
    no_room = getattr(error, "errno", None) == errno.ENOMEM
    if _is_of_ffmpeg(error):  # which says the same of the absurd sizes in damaged files
        return no_room and not has_room(AMPLE_BYTES)
    no_room = no_room and isinstance(error, OSError)
    return no_room or isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def _is_of_threads(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return NO_THREAD in str(error)
    refused = isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN
    return refused and (_is_of_ffmpeg(error) or _is_of_a_start(error))  # else a file or a socket is busy


def _is_of_ffmpeg(error: BaseException) -> bool:
    return any((kind.__module__, kind.__name__) == ("av.error", "FFmpegError") for kind in type(error).__mro__)


def _is_of_a_start(error: BaseException) -> bool:
    """Return whether an error arose while a process was started."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "subprocess" for frame, _ in frames)
