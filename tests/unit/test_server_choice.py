from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from client.errors import RequestRejected
from client.servers.addresses import Address
from client.servers.choice import FORGET_S, Ask, Snapshot, Wait, decide, expected_s
from client.servers.retry import BACKOFF_S
from client.servers.state import LEARNING_RATE, ServerState

IDLE = Snapshot(
    "idle:1",
    is_connected=True,
    unfit=frozenset(),
    died=frozenset(),
    under_way={},
    seconds={},
    idle_s=0.0,
    room=9.0,
    pause_s=0.0,
    answered=0,
)


def server(url: str, **changes: object) -> Snapshot:
    return replace(IDLE, url=url, **changes)  # type: ignore[arg-type]


def chances(*values: float) -> Callable[[], float]:
    return iter(values).__next__


def test_request_goes_where_it_is_answered_first() -> None:
    """Work under way and the time per request count together."""
    fast = server("fast:1", seconds={"m": 1.0}, under_way={"m": 3})
    slow = server("slow:1", seconds={"m": 5.0})
    assert decide([slow, fast], "m", 60.0) == Ask("fast:1")
    assert decide([slow, replace(fast, under_way={"m": 4})], "m", 60.0, chances(0.5, 0.5)) == Ask("slow:1")


def test_a_server_whose_model_died_is_waited_for() -> None:
    """It is restarted, or not: others are asked meanwhile, and it is asked for its other models."""
    hurt = server("hurt:1", died=frozenset(["m"]))
    assert decide([hurt, server("well:1")], "m", 60.0) == Ask("well:1")
    assert decide([hurt], "other", 60.0) == Ask("hurt:1")
    assert decide([hurt], "m", 60.0) == Wait(60.0)
    assert decide([hurt], "m", 0.0) is None


def test_work_for_other_models_counts_by_its_own_time() -> None:
    """Many quick requests are less to wait for than a slow one."""
    busy = server("busy:1", under_way={"quick": 10, "m": 1}, seconds={"quick": 0.1, "m": 2.0})
    assert expected_s(busy, "m", 1.0) == pytest.approx(10 * 0.1 + 2.0 + 2.0)
    assert expected_s(busy, "new", 3.0) == pytest.approx(10 * 0.1 + 2.0 + 3.0)


def test_slow_server_is_tried_again_after_a_while() -> None:
    """An idle server counts as twice as fast after each FORGET_S seconds."""
    slow = server("slow:1", seconds={"m": 5.0}, idle_s=2 * FORGET_S)
    assert expected_s(slow, "m", 1.0) == pytest.approx(1.25)


def test_unknown_server_counts_as_the_fastest_known_one() -> None:
    """So it is asked as soon as the known one has work."""
    known = server("known:1", seconds={"m": 2.0}, under_way={"m": 1}, answered=9)
    assert decide([known, server("new:1")], "m", 60.0) == Ask("new:1")


def test_ties_go_to_the_server_that_answered_least_and_then_to_chance() -> None:
    """Equal servers share the work."""
    assert decide([server("a:1", answered=2), server("b:1", answered=1)], "m", 60.0) == Ask("b:1")
    pair = [server("a:1"), server("b:1")]
    assert decide(pair, "m", 60.0, chances(0.1, 0.2)) == Ask("a:1")
    assert decide(pair, "m", 60.0, chances(0.2, 0.1)) == Ask("b:1")


def test_server_without_room_is_waited_for() -> None:
    """A paused one until its pause is over; a full one until it answers."""
    paused = server("paused:1", pause_s=0.3)
    full = server("full:1", under_way={"m": 9})
    assert decide([paused], "m", 60.0) == Wait(0.3)
    assert decide([full], "m", 60.0) == Wait(None)
    assert decide([full, paused, server("longer:1", pause_s=2.0)], "m", 60.0) == Wait(0.3)
    assert decide([full, paused, IDLE], "m", 60.0) == Ask("idle:1")


def test_lost_servers_are_waited_for_until_patience_ends() -> None:
    """A server that is only full has no limit; a lost one has."""
    lost = server("lost:1", is_connected=False)
    assert decide([lost], "m", 12.0) == Wait(12.0)
    assert decide([lost], "m", 0.0) is None
    assert decide([lost, server("full:1", under_way={"m": 9})], "m", -1.0) == Wait(None)


def test_unfit_servers_are_not_asked_nor_waited_for() -> None:
    """They may still be asked for other models."""
    unfit = server("unfit:1", unfit=frozenset({"m"}))
    assert decide([unfit], "m", 60.0) is None
    assert decide([unfit], "other", 60.0) == Ask("unfit:1")
    assert decide([unfit, server("lost:1", is_connected=False)], "m", 60.0) == Wait(60.0)
    assert decide([], "m", 60.0) is None


def test_state_learns_the_time_per_request() -> None:
    """The first answer counts whole, later ones move the estimate."""
    state = ServerState(Address("a:1"))
    state.learn("m", 1.0, now=100.0)
    assert state.snapshot(107.0).seconds == {"m": 1.0}
    assert state.snapshot(107.0).idle_s == 7.0
    state.under_way["m"] += 1
    assert state.snapshot(107.0).idle_s == 0.0
    state.learn("m", 2.0, now=107.0)
    assert state.snapshot(107.0).seconds["m"] == pytest.approx(1.0 + LEARNING_RATE)


def test_refusals_lower_what_a_server_gets_at_once() -> None:
    """Of five at once four remain, after a pause; refusals of the same moment count once; answers raise it slowly."""
    state = ServerState(Address("host:1"))
    state.under_way["m"] = 5
    state.refuse(100.0)
    state.refuse(100.0)
    assert not state.snapshot(100.0).is_free
    later = 100.0 + BACKOFF_S
    assert not state.snapshot(later).is_free
    state.under_way["m"] = 3
    assert state.snapshot(later).is_free
    state.under_way["m"] = 4
    state.accept()
    assert state.snapshot(later).is_free


def test_new_connection_forgets_what_was_known() -> None:
    """A restarted server may be another one."""
    state = ServerState(Address("host:1"))
    state.learn("m", 9.0, now=0.0)
    state.unfit["m"] = RequestRejected("another version")
    state.refuse(0.0)
    state.connect(None)  # type: ignore[arg-type]
    fresh = state.snapshot(0.0)
    assert (fresh.seconds, fresh.unfit, fresh.is_free) == ({}, frozenset(), True)
