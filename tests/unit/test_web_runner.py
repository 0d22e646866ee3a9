"""The web service's workers with a runner that does as it is told: where jobs run is not theirs to know."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from client.job_process import JobResult
from client.running.request import ProcessRequest
from client.running.runner import EndedJob
from client.web import worker
from client.web.child import EXIT_RETRY
from client.web.job_process import WebJobRequest
from client.web.recovery import LOST_TOO_OFTEN, MAX_ATTEMPTS
from client.web.service import Service
from client.web.store import JobStore
from client.web.worker import Workers
from tests.waiting import wait_until
from tests.web_service import NO_TRITON, add_job, make_service

PROCESS = "a-host/1/1"


class ToldRunner:
    """Ends jobs when it is told to, and those that are cancelled."""

    def __init__(self, room: int = 1) -> None:
        self.in_flight_limit = room
        self.taken: list[WebJobRequest] = []
        self.cancelled: list[str] = []
        self.is_closed = threading.Event()
        self._ended: queue.SimpleQueue[EndedJob] = queue.SimpleQueue()

    def submit(self, request: ProcessRequest) -> None:
        assert isinstance(request, WebJobRequest)
        self.taken.append(request)

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        with suppress(queue.Empty):
            return self._ended.get(timeout=timeout_s)
        return None

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self.end(job_id, 1)

    def close(self) -> None:
        self.is_closed.set()

    def end(self, job_id: str, code: int, *, is_lost: bool = False) -> None:
        """Say that a job has ended."""
        self._ended.put(EndedJob(job_id, JobResult(code), 0.0, is_lost=is_lost))

    def last(self, count: int) -> WebJobRequest:
        """Wait until so many jobs were taken; returns the last."""
        wait_until(lambda: len(self.taken) >= count)
        return self.taken[count - 1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_DELAY_S", "WATCH_EVERY_S", "POLL_EVERY_S"):
        monkeypatch.setattr(worker, name, 0.02)


def workers_on(service: Service, runner: ToldRunner) -> Workers:
    return Workers(service.settings, service.store, service.media, NO_TRITON, lambda _: None, runner)


def finish(request: WebJobRequest) -> None:
    """Do what a job's process does to the records."""
    store = JobStore(request.store, request.owner, PROCESS)
    assert store.enter(request.job_id, request.attempt)
    assert store.finish(request.job_id, {}, store.owner)


def state_of(service: Service, job_id: str) -> tuple[str, int]:
    record = service.store.get(job_id)
    assert record is not None
    return record.state, record.attempts


def test_jobs_are_claimed_as_there_is_room(tmp_path: Path) -> None:
    """No more than the runner takes; when machines join, more."""
    service, runner = make_service(tmp_path), ToldRunner(room=2)
    ids = [add_job(service, name * 32) for name in "abcd"]
    with workers_on(service, runner):
        runner.last(2)
        assert [service.store.state_of(job_id) for job_id in ids] == ["running", "running", "queued", "queued"]
        runner.in_flight_limit = 3
        runner.last(3)
        for request in list(runner.taken):
            finish(request)
            runner.end(request.job_id, 0)
        finish(runner.last(4))
        runner.end(ids[3], 0)
        wait_until(lambda: {service.store.state_of(job_id) for job_id in ids} == {"finished"})
    assert runner.is_closed.is_set()


def test_cancellation_reaches_the_runner(tmp_path: Path) -> None:
    """Once; the job's record says so when it has ended."""
    service, runner = make_service(tmp_path), ToldRunner()
    job_id = add_job(service)
    with workers_on(service, runner):
        runner.last(1)
        service.store.cancel(job_id)
        wait_until(lambda: service.store.state_of(job_id) == "cancelled")
    assert runner.cancelled == [job_id]


def test_records_are_asked_about_all_jobs_at_once(tmp_path: Path) -> None:
    """A service may run hundreds on a cluster."""
    service, runner = make_service(tmp_path), ToldRunner(room=3)
    ids = {add_job(service, name * 32) for name in "abc"}
    asked: list[set[str]] = []
    cancelling_of = service.store.cancelling_of

    def watched(job_ids: Collection[str]) -> set[str]:
        asked.append(set(job_ids))
        return cancelling_of(job_ids)

    service.store.cancelling_of = watched  # type: ignore[method-assign]
    with workers_on(service, runner):
        wait_until(lambda: ids in asked)
        for request in list(runner.taken):
            finish(request)
            runner.end(request.job_id, 0)


@pytest.mark.parametrize(
    ("end", "title"),
    [
        (lambda runner, job_id: runner.end(job_id, EXIT_RETRY), "The lip-sync server cannot be reached"),
        (lambda runner, job_id: runner.end(job_id, 1, is_lost=True), LOST_TOO_OFTEN),
    ],
)
def test_lost_jobs_are_tried_again(tmp_path: Path, end: Callable[[ToldRunner, str], None], title: str) -> None:
    """So are those that ask for it; not for ever, unless they come further each time."""
    service, runner = make_service(tmp_path), ToldRunner()
    job_id = add_job(service)
    with workers_on(service, runner):
        for count in range(1, MAX_ATTEMPTS + 1):
            assert runner.last(count).attempt == count
            end(runner, job_id)
        wait_until(lambda: service.store.state_of(job_id) == "failed")
    record = service.store.get(job_id)
    assert record is not None
    assert record.error is not None
    assert (record.error["title"], record.attempts) == (title, MAX_ATTEMPTS)


def test_job_that_advanced_before_its_machine_was_lost_keeps_its_attempts(tmp_path: Path) -> None:
    """A cluster that comes and goes fails no long job."""
    service, runner = make_service(tmp_path), ToldRunner()
    job_id = add_job(service)
    with workers_on(service, runner):
        for count in range(1, MAX_ATTEMPTS + 2):
            store = JobStore((request := runner.last(count)).store, request.owner, PROCESS)
            assert store.enter(job_id, request.attempt)
            store.begin_stage(job_id, "lip-syncing", 100, store.owner)
            store.note_frames(job_id, count, store.owner)
            runner.end(job_id, 1, is_lost=True)
        finish(runner.last(MAX_ATTEMPTS + 2))
        runner.end(job_id, 0)
        wait_until(lambda: service.store.state_of(job_id) == "finished")
    assert state_of(service, job_id) == ("finished", 1)


def test_job_that_ends_without_an_outcome_fails(tmp_path: Path) -> None:
    """As a process that was killed on this machine."""
    service, runner = make_service(tmp_path), ToldRunner()
    job_id = add_job(service)
    with workers_on(service, runner):
        runner.last(1)
        runner.end(job_id, -9)
        wait_until(lambda: service.store.state_of(job_id) == "failed")


def test_jobs_that_are_ended_with_the_service_cost_no_attempt(tmp_path: Path) -> None:
    """They are cancelled at the runner after the time to drain, and wait in the queue."""
    service, runner = make_service(tmp_path), ToldRunner()
    job_id = add_job(service)
    with workers_on(service, runner):
        runner.last(1)
    assert (runner.cancelled, state_of(service, job_id)) == ([job_id], ("queued", 0))


def test_jobs_that_run_end_while_the_service_drains(tmp_path: Path) -> None:
    """None is cancelled, and no other begins."""
    service, runner = make_service(tmp_path, drain_s=60.0), ToldRunner()
    first, second = add_job(service), add_job(service, "b" * 32)
    workers = workers_on(service, runner)
    with workers:
        request = runner.last(1)
        threading.Thread(target=lambda: (workers._is_closing.wait(), finish(request), runner.end(first, 0))).start()
    assert (runner.cancelled, service.store.state_of(second)) == ([], "queued")
    assert service.store.state_of(first) == "finished"


def test_process_of_an_earlier_start_changes_nothing(tmp_path: Path) -> None:
    """A frozen machine comes back while its job runs elsewhere, claimed by the same service."""
    service = make_service(tmp_path)
    job_id, store = add_job(service), service.store

    def process(name: str) -> Any:
        return JobStore(store.place, store.owner, name)

    frozen, late, new = process("a/1/1"), process("b/1/1"), process("c/1/1")
    assert store.claim(job_id)
    assert frozen.enter(job_id, 1)
    assert frozen.note_frames(job_id, 1, frozen.owner)
    store.requeue(job_id)
    assert store.claim(job_id)
    assert not frozen.is_mine(job_id)
    assert not late.enter(job_id, 1)
    assert new.enter(job_id, 2)
    for old in (frozen, late):
        assert not old.note_frames(job_id, 7, old.owner)
        assert not old.begin_stage(job_id, "lip-syncing", 9, old.owner)
        assert not old.finish(job_id, {}, old.owner)
        assert not old.is_mine(job_id)
    assert store.is_mine(job_id)
    assert new.finish(job_id, {}, new.owner)


def test_request_for_another_machine_names_no_folder_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files' storage by its whole address, and what signs results."""
    from client.running.ray_place import RayPlace

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIPSYNC_SIGN_CERT", "certificate.pem")
    monkeypatch.setenv("LIPSYNC_MARK", "1")
    service, runner = make_service(tmp_path / "data", media="kept", ray=RayPlace("auto")), ToldRunner()
    add_job(service)
    with workers_on(service, runner):
        request = runner.last(1)
        assert (request.data, request.media, request.progressive) == (None, str(tmp_path / "kept"), False)
        assert request.environment == {
            "LIPSYNC_SIGN_CERT": str(tmp_path / "certificate.pem"),
            "LIPSYNC_MARK": "1",
        }
