from __future__ import annotations

import pytest

from client.errors import AccessDenied, LipSyncError, ModelDied, NoAnswer, ServerBusy, ServerLost
from client.servers.retry import BACKOFF_S, MAX_ATTEMPTS, MAX_BACKOFF_S, Retries, UnfitServer, backoff_s


@pytest.mark.parametrize("kind", [NoAnswer, ServerLost, AccessDenied, ModelDied])
def test_failures_are_tried_a_few_times(kind: type[LipSyncError]) -> None:
    """Each wait is longer than the one before; then the request is given up."""
    retries, error = Retries(60.0), kind("no")
    pauses = [retries.pause_s(error, 0.0) for _ in range(MAX_ATTEMPTS)]
    assert pauses[-1] is None
    for times, pause_s in enumerate(pauses[:-1]):
        assert pause_s is not None
        assert BACKOFF_S * 2**times / 2 <= pause_s <= BACKOFF_S * 2**times
    assert retries.attempts == MAX_ATTEMPTS


def test_busy_servers_are_asked_again_until_patience_ends() -> None:
    """However often; the server's own pause spaces the tries, so the request adds none."""
    retries, busy = Retries(60.0), ServerBusy("full")
    assert [retries.pause_s(busy, now) for now in (100.0, 100.1, 130.0, 160.0)] == [0.0] * 4
    assert retries.attempts == 1
    assert retries.pause_s(busy, 160.1) is None


def test_no_patience_still_asks_twice() -> None:
    """Patience counts from the first refusal."""
    retries = Retries(0.0)
    assert retries.pause_s(ServerBusy("full"), 100.0) == 0.0
    assert retries.pause_s(ServerBusy("full"), 100.1) is None


def test_unfit_servers_cost_no_attempt() -> None:
    """Nothing was sent to them; each is met once."""
    retries = Retries(60.0)
    assert [retries.pause_s(UnfitServer("another version"), 0.0) for _ in range(10)] == [0.0] * 10
    assert retries.attempts == 1


def test_waits_grow_up_to_a_limit_and_differ() -> None:
    """Clients that failed together do not come back together."""
    waits = [[backoff_s(times) for _ in range(50)] for times in (0, 3, 30)]
    assert max(waits[0]) <= BACKOFF_S < 4 * BACKOFF_S <= min(waits[1]) <= max(waits[2]) <= MAX_BACKOFF_S
    assert len(set(waits[0])) > 40
