"""What a pool knows about one of its servers: whether it can be asked, and how fast it answers. Asks nothing itself."""

from __future__ import annotations

from collections import Counter

from client.errors import LipSyncError
from client.servers.addresses import Address
from client.servers.choice import Snapshot
from client.servers.connection import TritonConnection
from client.servers.retry import backoff_s

LEARNING_RATE = 0.3  # of the estimated seconds per request
PLENTY = 1000.0  # requests at once


class ServerState:
    """One server of a pool. All times are in seconds from any fixed moment.

    Attributes:
        address: Where it is.
        connection: The connection to it; None while it is lost.
        problem: Why it is lost.
        died_as: What it called itself when it was lost. A model whose process died comes back only with a restart, and
            each start of `lipsync serve` has a name of its own.
        unfit: Why it cannot be asked for some models, by their names.
        died: Models of them whose process died; the server has to be restarted.
        is_listed: Whether it still belongs to the pool.
        under_way: Number of requests that it works on, by model.
        answered: Number of requests that it has answered.
    """

    def __init__(self, address: Address) -> None:
        """Start without a connection."""
        self.address = address
        self.connection: TritonConnection | None = None
        self.problem: LipSyncError | None = None
        self.died_as = ""
        self.unfit: dict[str, LipSyncError] = {}
        self.died: set[str] = set()
        self.is_listed = True
        self.under_way: Counter[str] = Counter()
        self.answered = 0
        self._room = PLENTY  # requests at once: fewer after each refusal for want of room, then slowly more
        self._paused_until = 0.0
        self._refusals = 0  # in a row
        self._seconds: dict[str, float] = {}  # per request, by model
        self._last_used = 0.0

    def snapshot(self, now: float) -> Snapshot:
        """Return what choosing a server depends on."""
        return Snapshot(
            url=self.address.url,
            is_connected=self.connection is not None,
            unfit=frozenset(self.unfit.keys() - self.died),
            died=frozenset(self.died),
            under_way=dict(self.under_way),
            seconds=dict(self._seconds),
            idle_s=0.0 if self.under_way.total() else max(0.0, now - self._last_used),
            room=self._room,
            pause_s=self._paused_until - now,
            answered=self.answered,
        )

    def connect(self, connection: TritonConnection) -> None:
        """Take a new connection, and forget what was known about the server behind the old one."""
        self.connection, self.problem = connection, None
        self.unfit.clear()
        self.died.clear()
        self._seconds.clear()
        self._room, self._paused_until, self._refusals = PLENTY, 0.0, 0

    def accept(self) -> None:
        """Count an answer."""
        self.answered += 1
        self._room += 1 / self._room
        self._refusals = 0

    def refuse(self, now: float) -> None:
        """Pause after a refusal for want of room; refusals of the same moment count once."""
        if now >= self._paused_until:
            self._room = max(1.0, self.under_way.total() - 1)
            self._paused_until = now + backoff_s(self._refusals)
            self._refusals += 1

    def learn(self, model: str, seconds: float, now: float) -> None:
        """Include the time that a request took, with its waiting at the server, in the estimate."""
        before = self._seconds.get(model, seconds)
        self._seconds[model] = before + LEARNING_RATE * (seconds - before)
        self._last_used = now
