"""Looks at something again and again, beside what is measured."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Sampler(ABC):
    """Looks in a thread of its own while its context is open."""

    def __init__(self) -> None:
        """Make the thread; it starts with the context."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=type(self).__name__)

    @abstractmethod
    def look(self) -> float:
        """Look once; returns the seconds until the next look."""

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self.look()):
            pass
