"""Keeps a check from harming the result: measures its time, and notes a failure instead of raising it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from client.errors import LipSyncError


class Guard:
    """What one check costs, and why it was not completed.

    Attributes:
        seconds: time that the check has taken so far.
        failure: why it failed at first; None if it did not.
    """

    def __init__(self) -> None:
        """Start without time and failure."""
        self.seconds = 0.0
        self.failure: str | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure a step of the check, and note its failure."""
        started = time.perf_counter()
        try:
            yield
        except LipSyncError as error:
            self.failure = self.failure or str(error)
        except Exception as error:  # noqa: BLE001  (a defect of the check must not cost the result)
            self.failure = self.failure or f"{type(error).__name__}: {error}"
        finally:
            self.seconds += time.perf_counter() - started
