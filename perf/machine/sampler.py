"""Samples something again and again in a thread, beside what is measured."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Sampler(ABC):
    """Samples in a thread of its own while its context is open."""

    def __init__(self) -> None:
        """Create the thread; it starts with the context."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=type(self).__name__)

    @abstractmethod
    def look(self) -> float:
        """Take one sample; returns the seconds until the next."""

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self.look()):
            pass
