"""The records of jobs: versions, deletion, revisions, and damage."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from client.errors import (
    UsageError,
)
from client.web import store
from client.web.worker import sweep
from tests.web_service import add_job, make_service


def test_records_of_the_first_version_are_taken_over(tmp_path: Path) -> None:
    """A file that lacks what was added since is completed; its jobs stay."""
    job_id = add_job(make_service(tmp_path))
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        db.execute("alter table jobs drop column duration_s")
        db.execute("pragma user_version = 1")
    taken = make_service(tmp_path).store.get(job_id)
    assert taken is not None
    assert taken.duration_s is None


def test_queued_job_is_claimed_once(tmp_path: Path) -> None:
    """An id that is in the queue twice is run once."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    assert service.store.claim(job_id) is not None
    assert service.store.claim(job_id) is None


def test_deleted_job_is_told_for_a_while(tmp_path: Path) -> None:
    """Every follower hears that a job is gone, however long ago it had ended."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    service.store.cancel(job_id)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db, db:
        db.execute("update jobs set ended_at = ended_at - 10000")
    service.store.delete(job_id)
    add_job(service, "b" * 32)
    sweep(service.settings, service.store)
    assert [job.id for job in service.store.changed_since(0, "ann") if job.deleted] == [job_id]


def test_no_revision_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who heard of a job's end and removal hears of the next job too, once the record is gone."""
    service = make_service(tmp_path)
    old = add_job(service)
    service.store.cancel(old)
    service.store.delete(old)
    known = service.store.revision()
    monkeypatch.setattr(store, "TOMBSTONE_S", -1.0)
    service.store.purge()
    new = add_job(service, "b" * 32)
    assert [job.id for job in service.store.changed_since(known, "ann")] == [new]
    service.store.purge()
    assert service.store.state_of(old) is None


def test_damaged_records_fail_with_a_way_out(tmp_path: Path) -> None:
    """Records that cannot be read are named, with the command that starts without them."""
    service = make_service(tmp_path)
    add_job(service)
    file = tmp_path / "jobs.sqlite3"
    content = file.read_bytes()
    for damaged in (b"no database at all, but long enough to be one" * 100, content[:4096] + b"\xff" * 8192):
        file.write_bytes(damaged)
        with pytest.raises(UsageError, match=rf"expected job records .* move them away: mv {file} {file}.damaged"):
            make_service(tmp_path)


def test_records_of_another_version_fail(tmp_path: Path) -> None:
    """A file that another version wrote is left alone, and named."""
    make_service(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(UsageError, match=r"data: expected jobs of format 2 .* got format 99"):
        make_service(tmp_path)
