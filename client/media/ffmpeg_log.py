"""Reads FFmpeg's log, the only place where FFmpeg reports some facts. One thread at a time, as its level is global."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from av import logging

VERBOSE, ERROR = logging.VERBOSE, logging.ERROR

_level = threading.Lock()


@contextmanager
def captured_log(level: int) -> Iterator[list[tuple[int, str, str]]]:
    """Capture what FFmpeg logs for this thread. Lines for other threads are dropped, as they are without a capture.

    Args:
        level: VERBOSE or ERROR.

    Yields:
        level, source and text of each line so far.
    """
    with _level:
        before, skips = logging.get_level(), logging.get_skip_repeated()
        logging.set_level(level)
        logging.set_skip_repeated(False)  # the last line of one file may be the first one of the next
        try:
            with logging.Capture(local=False), logging.Capture() as lines:
                yield lines
        finally:
            logging.set_skip_repeated(skips)
            logging.set_level(before)
