"""Decides whether a failed request is sent again, and when. Reads no clock and waits for nothing itself."""

from __future__ import annotations

import random

from client.errors import AccessDenied, LipSyncError, ModelDied, NoAnswer, ServerBusy, ServerLost

MAX_ATTEMPTS = 4  # of one request; refusals for want of room do not count
BACKOFF_S, MAX_BACKOFF_S = 0.2, 10.0


class UnfitServer(LipSyncError):
    """A server cannot be asked for a model; raised before the request is sent."""


ANSWERED_ELSEWHERE = (ServerBusy, NoAnswer, ServerLost, AccessDenied, ModelDied, UnfitServer)
"""Errors that say nothing about the request: another server, or the same one later, may answer it."""


class Retries:
    """The failures of one request.

    Attributes:
        attempts: How often the request was sent or is to be sent, refusals for want of room not counted.
    """

    def __init__(self, patience_s: float) -> None:
        """Begin with the first attempt.

        Args:
            patience_s: How long servers may refuse the request for want of room, in seconds.
        """
        self.attempts = 1
        self._patience_s = patience_s
        self._refused_since: float | None = None

    def pause_s(self, error: LipSyncError, now: float) -> float | None:
        """Count a failure.

        Args:
            error: One of ANSWERED_ELSEWHERE.
            now: The time in seconds, from any fixed moment.

        Returns:
            Seconds to wait before the request is sent again; None to give up.
        """
        if isinstance(error, ServerBusy):
            if self._refused_since is None:
                self._refused_since = now
            elif now - self._refused_since > self._patience_s:
                return None
        elif not isinstance(error, UnfitServer):
            if self.attempts >= MAX_ATTEMPTS:
                return None
            self.attempts += 1
        return backoff_s(self.attempts - 2) if self.attempts > 1 else 0.0


def backoff_s(times: int) -> float:
    """Return how long to wait after this many earlier failures, in seconds.

    The longest wait doubles each time, up to MAX_BACKOFF_S; the wait is drawn from its upper half, so that clients that
    failed together do not come back together.
    """
    return min(BACKOFF_S * 2**times, MAX_BACKOFF_S) * random.uniform(0.5, 1)
