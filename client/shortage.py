"""Tells a lack of memory or threads from other errors, in the words of each library. Imports none of them."""

from __future__ import annotations

import errno

from client.errors import ShortageError
from client.system import has_room

NO_MEMORY = ("Insufficient memory", "std::bad_alloc")  # OpenCV's words, and C++'s own
NO_THREAD = "can't start new thread"  # Python's words


def no_memory() -> ShortageError:
    """Return what the user is told about a lack of memory."""
    return ShortageError(
        about="memory",
        expected="enough for the job",
        got="no more",
        advice="Free some, or raise its limit (ulimit -v)",
    )


def shortage_of(error: BaseException) -> ShortageError | None:
    """Return what the user is told about a lack of memory or threads; None about any other error."""
    if _is_of_threads(error):
        return ShortageError(
            about="threads",
            expected="enough for the job",
            got="no more",
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
    no_room = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return no_room or isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def _is_of_threads(error: BaseException) -> bool:
    refused = isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN  # by fork, or by a codec's threads
    return refused or (isinstance(error, RuntimeError) and NO_THREAD in str(error))
