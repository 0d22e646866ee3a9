"""What a pool knows of one of its servers: whether it can be asked, and how fast it answers. Asks nothing itself."""

from __future__ import annotations

import random
import time
from collections import Counter

from client.errors import LipSyncError
from client.servers.channel import Address
from client.servers.connection import TritonConnection

BACKOFF_S, MAX_BACKOFF_S = 0.2, 10.0  # doubled each time, and drawn from its upper half
LEARNING_RATE = 0.3  # of a server's seconds per request
PLENTY = 1000.0  # requests at once
FORGET_S = 5.0  # an idle server counts as twice as fast after this time, so that a slow one is tried again


class ServerState:
    """One server of a pool.

    Attributes:
        address: where it is.
        connection: to it; None while it is lost.
        problem: why it is lost.
        unfit: why it cannot be asked for some models, by their names.
        is_listed: whether it still belongs to the pool.
        under_way: requests that it works on, by model.
        answered: requests that it has answered.
        room: how many requests it may have at once: fewer after each refusal for want of room, then slowly more.
        paused_until: when it may be asked again after a refusal, by time.monotonic.
    """

    def __init__(self, address: Address) -> None:
        """Start without a connection."""
        self.address = address
        self.connection: TritonConnection | None = None
        self.problem: LipSyncError | None = None
        self.unfit: dict[str, LipSyncError] = {}
        self.is_listed = True
        self.under_way: Counter[str] = Counter()  # requests by model
        self.answered = 0
        self.room = PLENTY
        self.paused_until = 0.0
        self._refusals = 0  # in a row
        self._seconds: dict[str, float] = {}  # per request, by model
        self._last_used = 0.0

    def expected_s(self, model: str, guess_s: float) -> float:
        """Estimate when one more request would be answered, in seconds from now."""
        idle_s = 0.0 if self.under_way.total() else max(0.0, time.monotonic() - self._last_used)
        waiting_s = sum(count * self._seconds.get(name, guess_s) for name, count in self.under_way.items())
        return waiting_s + self._seconds.get(model, guess_s) * 0.5 ** (idle_s / FORGET_S)

    def learn(self, model: str, seconds: float) -> None:
        """Take the time that a request took, waiting at the server included, into the estimate."""
        before = self._seconds.get(model, seconds)
        self._seconds[model] = before + LEARNING_RATE * (seconds - before)
        self._last_used = time.monotonic()

    def is_free(self, now: float) -> bool:
        """Say whether it may be asked now."""
        return self.paused_until <= now and self.under_way.total() < self.room

    def connect(self, connection: TritonConnection) -> None:
        """Begin anew with a server that answers again."""
        self.connection, self.problem = connection, None
        self.unfit.clear()
        self._seconds.clear()
        self.room, self.paused_until, self._refusals = PLENTY, 0.0, 0

    def accept(self) -> None:
        """Note an answer."""
        self.answered += 1
        self.room += 1 / self.room
        self._refusals = 0

    def refuse(self) -> None:
        """Note that it had no room, and leave it alone for a while; refusals of the same moment count once."""
        now = time.monotonic()
        if now >= self.paused_until:
            self.room = max(1.0, self.under_way.total() - 1)
            self.paused_until = now + backoff_s(self._refusals)
            self._refusals += 1

    def known_s(self, model: str) -> float | None:
        """Return the estimated time of one request; None before the first."""
        return self._seconds.get(model)


def backoff_s(times: int) -> float:
    """Return how long to wait after so many failures before: doubled each time, spread by chance."""
    return min(BACKOFF_S * 2**times, MAX_BACKOFF_S) * random.uniform(0.5, 1)
