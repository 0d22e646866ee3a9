"""The records of jobs: versions, deletion, revisions, and damage."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from client.errors import (
    UsageError,
)
from client.web import store
from client.web.database import ADDED
from client.web.earlier_files import take_over
from client.web.recovery import recover, sweep
from tests.web_service import add_job, make_service, turns

EARLIER = Path(__file__).parents[1] / "data" / "jobs_format_4.sql"  # what version 4 wrote, jobs in every state


def write_earlier(file: Path, version: int) -> None:
    """Write the records of an earlier version."""
    with closing(sqlite3.connect(file)) as db:
        db.executescript(EARLIER.read_text())
        if version == 1:
            db.execute("drop table callbacks")
        if version < 3:
            db.execute("drop index jobs_by_key")
        for column in [column for old, columns in ADDED.items() if version <= old < 4 for column in columns]:
            table, _, name = column.partition(".")
            db.execute(f"alter table {table} drop column {name.split()[0]}")
        db.execute(f"pragma user_version = {version}")
        db.commit()


@pytest.mark.parametrize("version", ADDED)
def test_records_of_earlier_versions_are_taken_over(tmp_path: Path, version: int) -> None:
    """A file that lacks what was added since is completed; its jobs stay, and can be used."""
    write_earlier(tmp_path / "jobs.sqlite3", version)
    for _ in range(2):
        store = make_service(tmp_path).store
        listed = [(job.id[0], job.number, job.state) for job in store.jobs_of("ann", 10)]
        assert listed == [("c", 3, "queued"), ("b", 2, "running"), ("a", 1, "finished")]
    assert store.claim("c" * 32) is not None
    known = store.revision()
    new = store.add("0" * 32, "ann", {"model": "mouth-motion"}, "in.mp4", "in.wav")
    assert new.revision == known + 1 > 3
    assert store.jobs_of("ann", 1)[0].id == new.id


def test_jobs_of_the_last_release_go_on(tmp_path: Path) -> None:
    """Running and queued jobs wait again, a cancelled one ends, callbacks are sent, and files of the old queue go."""
    write_earlier(tmp_path / "jobs.sqlite3", 4)
    for name in ("queue.sqlite3", "queue.sqlite3-wal"):
        (tmp_path / name).write_bytes(b"of huey")
    session = f"{int(time.time()) + 1000}.abc"
    (tmp_path / "revoked-sessions").write_text(f"{session}\n")
    service = make_service(tmp_path)
    for letter in "bcdef":
        service.settings.job_folder(letter * 32).mkdir()
    take_over(tmp_path, service.store)
    recover(service.store, service.media)
    states = {letter: service.store.state_of(letter * 32) for letter in "abcdef"}
    assert list(states.values()) == ["finished", "queued", "queued", "queued", "cancelled", "failed"]
    assert turns(service.store) == ["b" * 32, "c" * 32]
    assert [job.id for job in service.store.to_fetch()] == ["d" * 32]
    known = service.store.with_key("ann", "k")
    assert known is not None
    assert (known.id, known.attempts, known.fingerprint) == ("b" * 32, 1, "f")
    assert service.store.pace_of("mouth-motion") == 3.0
    (callback,) = service.callbacks.take_due()
    assert (callback.record.id, callback.record.report and callback.record.report["frames"]) == ("a" * 32, 3)
    assert service.store.is_revoked(session)
    assert not list(tmp_path.glob("queue*"))
    assert not (tmp_path / "revoked-sessions").exists()


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
    sweep(service.settings, service.store, service.media)
    assert [job.id for job in service.store.changed_since(0, "ann") if job.deleted] == [job_id]


def test_no_revision_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who heard of a job's end and removal hears of the next job too, once the record is gone."""
    service = make_service(tmp_path)
    old = add_job(service)
    service.store.cancel(old)
    service.store.delete(old)
    known = service.store.revision()
    monkeypatch.setattr(store, "TOMBSTONE_S", -1.0)
    service.store.purge([old])
    new = add_job(service, "b" * 32)
    assert [job.id for job in service.store.changed_since(known, "ann")] == [new]
    service.store.purge([old])
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
    with pytest.raises(UsageError, match=r"data: expected jobs of format 5 .* got format 99"):
        make_service(tmp_path)
