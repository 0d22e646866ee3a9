"""Decides which server of a pool a request goes to. Pure functions of snapshots: no clock, no locks, no connections."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

FIRST_GUESS_S = 1.0  # per request, before any server has answered one
FORGET_S = 5.0  # an idle server counts as twice as fast after this time, so that a slow one is tried again


@dataclass(frozen=True)
class Snapshot:
    """One server at the moment of the decision.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        is_connected: Whether there is a connection to it; False while it is lost.
        unfit: Names of models that it cannot be asked for.
        died: Names of models that it cannot be asked for until it is restarted, as if it were lost.
        under_way: Number of requests that it works on, by model.
        seconds: Estimated seconds per request, by model; no entry before its first answer.
        idle_s: Seconds since its last answer; 0 while it works on a request.
        room: How many requests it may have at once.
        pause_s: Seconds until it may be asked again after a refusal; 0 or less if it may be asked at once.
        answered: Number of requests that it has answered.
    """

    url: str
    is_connected: bool
    unfit: frozenset[str]
    died: frozenset[str]
    under_way: Mapping[str, int]
    seconds: Mapping[str, float]
    idle_s: float
    room: float
    pause_s: float
    answered: int

    @property
    def is_free(self) -> bool:
        """Whether it may be asked now."""
        return self.pause_s <= 0 and sum(self.under_way.values()) < self.room


@dataclass(frozen=True)
class Ask:
    """Send the request to this server."""

    url: str


@dataclass(frozen=True)
class Wait:
    """Wait until a server changes, at most this many seconds; None for as long as it takes."""

    at_most_s: float | None


def decide(
    servers: Iterable[Snapshot], model: str, comeback_left_s: float, chance: Callable[[], float] = random.random
) -> Ask | Wait | None:
    """Decide what to do with a request.

    Args:
        servers: All servers of the pool.
        model: The model that the request is for.
        comeback_left_s: How much longer to wait for a server to come back if all are lost, in seconds.
        chance: Breaks ties between servers that are equally good.

    Returns:
        Which server to ask, or how long to wait; None if no server can be asked for the model.
    """
    fit = [server for server in servers if model not in server.unfit]
    connected = [server for server in fit if server.is_connected and model not in server.died]
    free = [server for server in connected if server.is_free]
    if free:
        return Ask(_best(free, model, chance).url)
    if not fit or (not connected and comeback_left_s <= 0):
        return None
    pauses = [server.pause_s for server in connected if server.pause_s > 0]
    return Wait(min(pauses, default=None if connected else comeback_left_s))


def expected_s(server: Snapshot, model: str, guess_s: float) -> float:
    """Estimate when a server would answer one more request, in seconds from now.

    Args:
        server: The server.
        model: The model that the request is for.
        guess_s: Seconds per request for models that this server has not answered yet.
    """
    waiting_s = sum(count * server.seconds.get(name, guess_s) for name, count in server.under_way.items())
    return waiting_s + server.seconds.get(model, guess_s) * 0.5 ** (server.idle_s / FORGET_S)


def _best(free: list[Snapshot], model: str, chance: Callable[[], float]) -> Snapshot:
    """Return the server that should answer first; among equals one that has answered least."""
    guess_s = min((server.seconds[model] for server in free if model in server.seconds), default=FIRST_GUESS_S)
    return min(free, key=lambda server: (expected_s(server, model, guess_s), server.answered, chance()))
