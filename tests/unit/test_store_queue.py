"""The records as a queue, on SQLite and on a real PostgreSQL: turns, claims, leases, revisions."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from client.web.callback_store import CallbackStore
from client.web.failures import servers_failure
from client.web.job_record import JobOrder
from client.web.job_turns import LEASE_S
from client.web.store import JobStore
from client.web.tables import jobs
from tests.postgresql import new_database, postgresql
from tests.web_service import turns

Opened = Callable[[], JobStore]
numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL for this file."""
    with postgresql() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the same records again and again, each time for another owner."""
    if request.param == "sqlite":
        place: Path | str = tmp_path / "jobs.sqlite3"
    else:
        place = new_database(request.getfixturevalue("server"), f"jobs{next(numbers)}")
    stores: list[JobStore] = []

    def open_again() -> JobStore:
        stores.append(JobStore(place))
        return stores[-1]

    yield open_again
    for store in stores:
        store.close()


def add(store: JobStore, user: str, *names: str, **order: str) -> None:
    for name in names:
        store.add(name, user, {"model": "mouth-motion"}, "in.mp4", "in.wav", 10.0, JobOrder(**order))


def end_lease(store: JobStore, job_id: str) -> None:
    """Let a lease end, as if its owner had been silent for that long."""
    with store.transaction() as db:
        db.execute(sa.update(jobs).where(jobs.c.id == job_id).values(lease_ends_at=jobs.c.lease_ends_at - LEASE_S - 1))


def test_users_take_turns_at_claims(opened: Opened) -> None:
    """Claims follow the order that is told, whoever makes them."""
    store, other = opened(), opened()
    add(store, "ann", "a1", "a2", "a3")
    add(store, "bob", "b1", "b2")
    assert turns(store) == ["a1", "b1", "a2", "b2", "a3"]
    assert store.places_of("bob") == {"b1": 1, "b2": 3}
    claimed = [claimer.claim_next() for claimer in (store, other, store)]
    assert [job.id for job in claimed if job] == ["a1", "b1", "a2"]
    assert turns(store) == ["b2", "a3"]
    assert store.has_waiting()
    assert [job.id for job in (store.claim_next(), other.claim_next()) if job] == ["b2", "a3"]
    assert (store.claim_next(), store.has_waiting()) == (None, False)


def test_every_job_is_claimed_once(opened: Opened) -> None:
    """However many claim at once, each job is given to one, and no revision is used twice."""
    store = opened()
    for number in range(24):
        add(store, f"user{number % 3}", f"{number:032x}")
    claimers = [opened() for _ in range(4)]

    def claim_all(claimer: JobStore) -> list[str]:
        return [job.id for job in iter(claimer.claim_next, None)]

    with ThreadPoolExecutor(4) as pool:
        claimed = [job_id for ids in pool.map(claim_all, claimers) for job_id in ids]
    assert sorted(claimed) == [f"{number:032x}" for number in range(24)]
    seen = [job.revision for user in range(3) for job in store.changed_since(0, f"user{user}")]
    assert len(set(seen)) == 24
    assert store.revision() == 48  # each was added and claimed, and looks that found nothing used none


def test_follower_misses_no_change(opened: Opened) -> None:
    """Who asks for what came after the last revision sees every change of concurrent writers, in order."""
    store = opened()
    writers = [opened() for _ in range(3)]

    def write(numbered: tuple[int, JobStore]) -> None:
        for number in range(8):
            add(numbered[1], "ann", f"{numbered[0]}-{number}")

    seen: list[str] = []
    revision = 0
    with ThreadPoolExecutor(3) as pool:
        written = [pool.submit(write, each) for each in enumerate(writers)]
        while len(seen) < 24:
            is_over = all(each.done() for each in written)
            changed = store.changed_since(revision, "ann")
            seen += [job.id for job in changed]
            revision = max([revision, *(job.revision for job in changed)])
            assert changed or not is_over, "a change was overtaken"
    assert len(set(seen)) == 24


def test_job_of_a_dead_process_is_free_at_once(opened: Opened) -> None:
    """On the same host nobody waits for the lease's end."""
    store = opened()
    add(store, "ann", "a1")
    address = str(store.place)
    code = (
        "import sys; from pathlib import Path; from client.web.store import JobStore; place = sys.stdin.read();"
        "assert JobStore(place if '://' in place else Path(place)).claim('a1')"
    )
    subprocess.run([sys.executable, "-c", code], input=address, text=True, check=True)
    (lease,) = store.leases()
    assert (lease.has_ended, lease.is_lost) == (False, True)
    assert store.free(lease)
    assert not opened().free(lease)
    assert turns(store) == ["a1"]


def test_silent_owner_loses_its_job(opened: Opened) -> None:
    """A living owner keeps its job while it renews; after the lease it can change nothing."""
    first, second = opened(), opened()
    add(first, "ann", "a1")
    first.claim("a1")
    assert not second.leases()[0].is_lost
    end_lease(second, "a1")
    first.renew(["a1"])
    assert not second.leases()[0].is_lost
    end_lease(second, "a1")
    (lease,) = second.leases()
    assert lease.is_lost
    assert second.free(lease)
    taken = second.claim_next()
    assert taken is not None
    assert taken.attempts == 2
    assert not first.is_mine("a1")
    assert not first.note_frames("a1", 7, first.owner)
    assert not first.finish("a1", {"frames": 1}, first.owner)
    assert not first.fail("a1", servers_failure("No"), first.owner)
    assert not first.enter("a1", 1)
    assert not first.free(lease)
    assert second.finish("a1", {"frames": 3, "seconds": 2.0, "duration_s": 1.0}, second.owner)
    assert first.totals()["finished"] == (1, 3, 2.0)
    assert first.pace_of("mouth-motion") == 2.0


def test_silent_owner_puts_back_nothing(opened: Opened) -> None:
    """A process that was paused and lost its job neither queues nor ends nor advances the run of another."""
    first, second = opened(), opened()
    add(first, "ann", "a1")
    first.claim("a1")
    end_lease(second, "a1")
    assert second.free(second.leases()[0])
    second.claim("a1")
    second.begin_stage("a1", "lip-syncing", 100)
    second.note_frames("a1", 7)
    assert not first.advance("a1")
    assert not first.requeue("a1")
    second.cancel("a1")
    first.end_cancelled("a1", first.owner)
    assert second.state_of("a1") == "cancelling"
    add(first, "ann", "a2")
    assert second.cancelling_of(("a1", "a2", "none")) == {"a1"}
    second.end_cancelled("a1", second.owner)
    assert second.state_of("a1") == "cancelled"


def test_renewed_claim_is_not_taken_away(opened: Opened) -> None:
    """Who found a claim ended acts too late if its owner has renewed it since."""
    first, second = opened(), opened()
    add(first, "ann", "a1")
    first.claim("a1")
    end_lease(second, "a1")
    (lease,) = second.leases()
    assert lease.is_lost
    first.renew(["a1"])
    assert not second.free(lease)
    assert not second.give_up(lease, servers_failure("No"))
    assert first.is_mine("a1")
    end_lease(second, "a1")
    assert second.give_up(second.leases()[0], servers_failure("No"))
    assert second.state_of("a1") == "failed"


def test_fetch_ends_in_its_owners_name(opened: Opened) -> None:
    """Files that are claimed elsewhere are not offered, and who lost a fetch records nothing of it."""
    first, second = opened(), opened()
    for name in ("a1", "a2"):
        first.add(name, "ann", {}, "v", "a", None, JobOrder(sources={"video_url": "https://example.org"}))
    first.claim_fetch("a1")
    assert [job.id for job in second.to_fetch()] == ["a1", "a2"]
    assert [job.id for job in second.free_to_fetch()] == ["a2"]
    assert not second.fetched("a1", ("v.mp4", "a.wav"), 2.0)
    assert not second.fail("a1", servers_failure("No"), second.owner)
    assert first.fetched("a1", ("v.mp4", "a.wav"), 2.0)


def test_lease_runs_by_the_databases_clock(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose clock is an hour ahead takes nothing away, and its jobs are not older."""
    store = opened()
    if store.is_sqlite:
        pytest.skip("SQLite has the clock of its only host")
    add(store, "ann", "a1", "a2")
    store.claim("a1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    ahead = opened()
    assert not ahead.leases()[0].is_lost
    ahead.claim("a2")
    started = ahead.get("a2")
    assert started is not None
    assert abs((started.started_at or 0) - now) < 60
    ahead.cancel("a2")
    ahead.end_cancelled("a2")
    assert ahead.expired(keep_s=60.0) == []


def test_fetch_belongs_to_one(opened: Opened) -> None:
    """Files are fetched by one service; what it leaves can be taken up."""
    first, second = opened(), opened()
    store = first.add("a1", "ann", {}, "v", "a", None, JobOrder(sources={"video_url": "https://example.org"}))
    assert store.fetching
    assert first.claim_fetch("a1")
    assert not second.claim_fetch("a1")
    assert second.claim_next() is None
    first.release("a1")
    assert second.claim_fetch("a1")
    assert second.fetched("a1", ("v.mp4", "a.wav"), 2.0)
    assert second.leases() == []
    claimed = first.claim_next()
    assert claimed is not None
    assert (claimed.video_name, claimed.stage, claimed.sources) == (
        "v.mp4",
        "starting",
        {"video_url": "https://example.org"},
    )


def test_key_makes_one_job(opened: Opened) -> None:
    """Two services that accept the same request make one job of it."""
    first, second = opened(), opened()
    add(first, "ann", "a1", key="k", fingerprint="f")
    with pytest.raises(sa.exc.IntegrityError):
        add(second, "ann", "a2", key="k", fingerprint="f")
    known = second.with_key("ann", "k")
    assert known is not None
    assert (known.id, known.fingerprint) == ("a1", "f")
    first.delete("a1")
    add(second, "ann", "a3", key="k", fingerprint="f")


def test_callback_is_taken_once(opened: Opened) -> None:
    """Of services that look at once, one sends; the outcome is recorded by whoever made the last attempt."""
    stores = [opened() for _ in range(4)]
    for number in range(6):
        add(stores[0], f"user{number}", f"a{number}", callback_url="https://example.org/hook")
        stores[0].cancel(f"a{number}")
    with ThreadPoolExecutor(4) as pool:
        taken = [each for due in pool.map(lambda store: CallbackStore(store).take_due(), stores) for each in due]
    assert sorted(callback.record.id for callback in taken) == [f"a{number}" for number in range(6)]
    assert {callback.record.state for callback in taken} == {"cancelled"}
    callbacks = CallbackStore(stores[0])
    assert not callbacks.note(taken[0], "")
    state = callbacks.state_of(taken[0].record.id)
    assert state is not None
    assert (state.attempts, state.is_over, state.answer) == (1, True, "")
    assert callbacks.note(taken[1], "status 500")


def test_services_agree(opened: Opened) -> None:
    """One sweeps at a time, all have the same key, and a session that one revokes is revoked for all."""
    first, second = opened(), opened()
    assert first.take_duty("sweep", 60.0)
    assert not second.take_duty("sweep", 60.0)
    assert first.take_duty("sweep", -1.0)
    assert second.take_duty("sweep", 60.0)
    assert first.shared_bytes("key", b"one") == second.shared_bytes("key", b"two") == b"one"
    first.revoke_session("s", 10)
    first.revoke_session("s", 10)
    assert second.is_revoked("s")
    second.forget_sessions()
    assert not first.is_revoked("s")


def test_worker_is_woken_by_its_own_process(opened: Opened) -> None:
    """A new job does not wait until an idle worker looks again; without one the wait ends by itself."""
    store = opened()
    began = time.monotonic()
    store.wait_for_jobs(0.2)
    assert time.monotonic() - began >= 0.2
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait_for_jobs, 60.0)
        add(store, "ann", "a1")
        waiting.result(20)


def test_lists_and_pages(opened: Opened) -> None:
    """Pages, states, counts and removal are the same on both."""
    store = opened()
    add(store, "ann", "a1", "a2", "a3")
    store.cancel("a1")
    store.delete("a1")
    assert [job.id for job in store.jobs_of("ann", 1)] == ["a3"]
    last = store.jobs_of("ann", 1)[0].number
    assert [job.id for job in store.jobs_of("ann", 5, before=last)] == ["a2"]
    assert (store.count_of("ann", ["queued"]), store.active("ann"), store.active()) == (2, 2, 2)
    assert store.count_by_state()["queued"] == 2
    assert [job.id for job in store.expired(60.0)] == ["a1"]
    store.retry("a1")
    assert store.state_of("a1") == "cancelled"  # what is removed is not tried again
    with store.transaction() as db:
        db.execute(sa.update(jobs).values(ended_at=jobs.c.ended_at - 10_000))
    store.purge(["a2"])
    assert store.state_of("a1") == "cancelled"
    store.purge(["a1"])
    assert store.state_of("a1") is None
