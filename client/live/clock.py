"""The clock of a stream's timeline, which can be stopped."""

from __future__ import annotations

from collections.abc import Callable


class StreamClock:
    """Seconds since a stream began, without the time for which it was stopped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take what tells the time, in seconds from any moment; it must not jump."""
        self._clock = clock
        self._start = 0.0
        self._stopped_at: float | None = None

    def begin(self, in_s: float) -> None:
        """Let the timeline begin some seconds from now."""
        self._start = self._clock() + in_s

    @property
    def now_s(self) -> float:
        """The time on the timeline, in seconds."""
        return (self._clock() if self._stopped_at is None else self._stopped_at) - self._start

    def stop(self) -> None:
        """Stand still until `go_on`; safe to call again."""
        if self._stopped_at is None:
            self._stopped_at = self._clock()

    def go_on(self) -> None:
        """Go on where it stopped; safe to call again."""
        if self._stopped_at is not None:
            self._start += self._clock() - self._stopped_at
            self._stopped_at = None
