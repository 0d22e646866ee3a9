"""The jobs' records in SQLite, shared by the service and its job processes. Does not read media."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client.errors import UsageError
from client.web.job_record import ACTIVE, ENDED, RETRIABLE, STATES, Failure, JobRecord, State

FORMAT = 2  # version of the file; increase it with every change of SCHEMA
PACE_JOBS = 20  # last jobs from which the time of the next is estimated
TOMBSTONE_S = 120.0  # how long a deleted job's record stays, so that every follower is told
BUSY_TIMEOUT_S = 30.0

SCHEMA = """
create table if not exists jobs (
    id text primary key,
    user text not null,
    state text not null,
    settings text not null,
    video_name text not null,
    audio_name text not null,
    created_at real not null,
    started_at real,
    ended_at real,
    stage text not null default '',
    stage_started_at real,
    frames integer not null default 0,
    total_frames integer,
    attempts integer not null default 0,
    error text,
    report text,
    deleted integer not null default 0,
    revision integer not null,
    duration_s real
);
create index if not exists jobs_by_user on jobs (user, created_at);
create index if not exists jobs_by_revision on jobs (revision);
create table if not exists totals (
    state text primary key,
    jobs integer not null default 0,
    frames integer not null default 0,
    seconds real not null default 0
);
"""


class JobStore:
    """The records; several threads and processes can use them at once."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            UsageError: another version of the service wrote it, or it is damaged.
        """
        self._path = path
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            is_damaged = not isinstance(error, sqlite3.OperationalError)
            way_out = f"To start without the old jobs, move them away: mv {path} {path}.damaged"
            raise UsageError(
                option="data",
                expected=f"job records in {path} that can be read",
                got=str(error),
                advice=way_out if is_damaged else "Check the folder and its disk",
            ) from error

    def _open(self) -> None:
        with self._transaction() as db:
            (found,) = db.execute("pragma quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
            version = db.execute("pragma user_version").fetchone()[0]
            if version == 1:
                db.execute("alter table jobs add column duration_s real")
            elif version not in (0, FORMAT):
                expected = f"jobs of format {FORMAT} in {self._path}"
                raise UsageError(option="data", expected=expected, got=f"format {version}", advice="Use another folder")
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"pragma user_version = {FORMAT}")

    def add(
        self,
        job_id: str,
        user: str,
        settings: dict[str, Any],
        video_name: str,
        audio_name: str,
        duration_s: float | None = None,
    ) -> JobRecord:
        """Record a new job, queued."""
        with self._transaction() as db:
            db.execute(
                "insert into jobs (id, user, state, settings, video_name, audio_name, created_at, duration_s, revision)"
                f" values (?, ?, 'queued', ?, ?, ?, ?, ?, {_NEXT_REVISION})",
                (job_id, user, json.dumps(settings), video_name, audio_name, time.time(), duration_s),
            )
        return self._known(job_id)

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job that was not deleted, or None."""
        rows = self._select("where id = ? and not deleted", (job_id,))
        return rows[0] if rows else None

    def state_of(self, job_id: str) -> State | None:
        """Return a job's state, deleted or not."""
        with self._connection() as db:
            row = db.execute("select state from jobs where id = ?", (job_id,)).fetchone()
        return row and row[0]

    def jobs_of(self, user: str, limit: int, offset: int = 0) -> list[JobRecord]:
        """Return a user's jobs, the newest first."""
        return self._select(
            "where user = ? and not deleted order by rowid desc limit ? offset ?",
            (user, limit, offset),
        )

    def count_of(self, user: str) -> int:
        """Count a user's jobs."""
        return self._count("where user = ? and not deleted", (user,))

    def revision(self) -> int:
        """Return the newest revision of all jobs."""
        with self._connection() as db:
            return int(db.execute("select coalesce(max(revision), 0) from jobs").fetchone()[0])

    def active(self, user: str | None = None) -> int:
        """Count the jobs that have not ended, of one user or of all."""
        among = f"where state in {_tuple(ACTIVE)}"
        return self._count(among) if user is None else self._count(f"{among} and user = ?", (user,))

    def jobs_ahead(self, job: JobRecord) -> int:
        """Count the queued jobs that come before a job."""
        order = self.turns()
        return order.index(job.id) if job.id in order else 0

    def turns(self) -> list[str]:
        """Return the queued jobs in the order in which they run: users take turns, each with their oldest job.

        Who has fewer running jobs comes first; among equals, whose last job was started longer ago.
        """
        with self._connection() as db:
            queued = db.execute("select id, user from jobs where state = 'queued' order by rowid").fetchall()
            before = db.execute(
                "select user, sum(state in ('running', 'cancelling')), coalesce(max(started_at), 0) from jobs"
                " group by user"
            ).fetchall()
        standing = {user: (running, started_at) for user, running, started_at in before}
        rounds: Counter[str] = Counter()
        keys = {}
        for job_id, user in queued:
            running, started_at = standing[user]
            keys[job_id] = (running + rounds[user], rounds[user] > 0, started_at)
            rounds[user] += 1
        return sorted(keys, key=keys.__getitem__)  # jobs that are equal keep their order

    def places_of(self, user: str, job_id: str | None = None) -> dict[str, int]:
        """Return a user's queued jobs, or one of them, and how many jobs come before each."""
        among, values = ("", ()) if job_id is None else (" and id = ?", (job_id,))
        mine = {job.id for job in self._select(f"where state = 'queued' and user = ?{among}", (user, *values))}
        return {queued: place for place, queued in enumerate(self.turns()) if queued in mine} if mine else {}

    def pace_of(self, model: str) -> float | None:
        """Return the processing time of a second of result, from the last jobs of a model; None without any."""
        with self._connection() as db:
            seconds, length_s = db.execute(
                "select sum(json_extract(report, '$.seconds')), sum(json_extract(report, '$.duration_s')) from"
                " (select report from jobs where state = 'finished' and json_extract(settings, '$.model') = ?"
                " order by rowid desc limit ?)",
                (model, PACE_JOBS),
            ).fetchone()
        return seconds / length_s if seconds and length_s else None

    def in_state(self, state: State) -> list[JobRecord]:
        """Return all jobs in a state, the oldest first."""
        return self._select("where state = ? order by rowid", (state,))

    def count_by_state(self) -> dict[State, int]:
        """Count the jobs kept, by state."""
        with self._connection() as db:
            counted = dict(db.execute("select state, count(*) from jobs where not deleted group by state").fetchall())
        return {state: counted.get(state, 0) for state in STATES}

    def totals(self) -> dict[State, tuple[int, int, float]]:
        """Return state -> number, frames and seconds of all jobs that ever ended."""
        with self._connection() as db:
            rows = db.execute("select state, jobs, frames, seconds from totals").fetchall()
        found = {state: (jobs, frames, seconds) for state, jobs, frames, seconds in rows}
        return {state: found.get(state, (0, 0, 0.0)) for state in ENDED}

    def changed_since(self, revision: int, user: str, job_id: str | None = None) -> list[JobRecord]:
        """Return a user's jobs, or one of them, that changed after a revision, in order; deleted ones too."""
        only, values = ("", ()) if job_id is None else (" and id = ?", (job_id,))
        return self._select(
            f"where revision > ? and user = ?{only} order by revision",
            (revision, user, *values),
        )

    def claim(self, job_id: str) -> JobRecord | None:
        """Mark a queued job as running; None if it is no longer queued."""
        taken = self._update(
            "state = 'running', attempts = attempts + 1, started_at = coalesce(started_at, ?), stage = 'starting',"
            " stage_started_at = ?, frames = 0, total_frames = null",
            (time.time(), time.time()),
            "id = ? and state = 'queued'",
            (job_id,),
        )
        return self._known(job_id) if taken else None

    def begin_stage(self, job_id: str, stage: str, total_frames: int | None) -> None:
        """Record the stage that a running job enters."""
        self._update(
            "stage = ?, stage_started_at = ?, frames = 0, total_frames = ?",
            (stage, time.time(), total_frames),
            "id = ? and state = 'running'",
            (job_id,),
        )

    def note_frames(self, job_id: str, frames: int) -> None:
        """Record how many frames of the stage are done."""
        self._update("frames = ?", (frames,), "id = ? and state = 'running'", (job_id,))

    def requeue(self, job_id: str, *, counted: bool = True) -> bool:
        """Put an interrupted job back into the queue; False if it was not running."""
        change = "state = 'queued', stage = '', attempts = attempts - ?"
        return self._update(change, (int(not counted),), "id = ? and state = 'running'", (job_id,))

    def retry(self, job_id: str) -> bool:
        """Queue a failed or cancelled job again, as if it had never run; False if it is in another state."""
        change = (
            "state = 'queued', stage = '', frames = 0, total_frames = null, attempts = 0, error = null,"
            " started_at = null, ended_at = null"
        )
        return self._update(change, (), f"id = ? and state in {_tuple(RETRIABLE)} and not deleted", (job_id,))

    def cancel(self, job_id: str) -> None:
        """Cancel a queued job, or request the cancellation of a running one."""
        if not self._end(job_id, "cancelled", ("queued",)):
            self._update("state = 'cancelling'", (), "id = ? and state = 'running'", (job_id,))

    def end_cancelled(self, job_id: str) -> None:
        """Record that a job whose cancellation was requested has ended."""
        self._end(job_id, "cancelled", ("cancelling",))

    def finish(self, job_id: str, report: dict[str, Any]) -> None:
        """Record a complete result, also if the job was to be cancelled but ended first."""
        self._end(job_id, "finished", ("running", "cancelling"), report=report)

    def fail(self, job_id: str, failure: Failure) -> None:
        """Record a failure."""
        self._end(job_id, "failed", ("queued", "running"), error=asdict(failure))

    def delete(self, job_id: str) -> None:
        """Hide a job from its user; `purge` removes the record some time after the job has ended."""
        self._update("deleted = 1, ended_at = ?", (time.time(),), "id = ? and not deleted", (job_id,))

    def expired(self, keep_s: float) -> list[JobRecord]:
        """Return ended jobs that are deleted or ended longer ago than that."""
        return self._select(
            f"where state in {_tuple(ENDED)} and (deleted or ended_at < ?)",
            (time.time() - keep_s,),
        )

    def purge(self) -> None:
        """Remove the records of jobs deleted some time ago, except the newest: no revision may be used twice."""
        with self._transaction() as db:
            db.execute(
                f"delete from jobs where deleted and state in {_tuple(ENDED)} and ended_at < ?"
                " and revision < (select max(revision) from jobs)",
                (time.time() - TOMBSTONE_S,),
            )

    def _end(
        self,
        job_id: str,
        state: State,
        before: tuple[State, ...],
        *,
        report: dict[str, Any] | None = None,
        error: dict[str, str] | None = None,
    ) -> bool:
        packed = [None if value is None else json.dumps(value) for value in (report, error)]
        with self._transaction() as db:
            changed = db.execute(
                f"update jobs set state = ?, ended_at = ?, report = ?, error = ?, revision = {_NEXT_REVISION}"
                f" where id = ? and state in {_tuple(before)}",
                (state, time.time(), *packed, job_id),
            ).rowcount
            if changed:
                report = report or {}
                db.execute(
                    "insert into totals values (?, 1, ?, ?) on conflict (state) do update set"
                    " jobs = jobs + 1, frames = frames + excluded.frames, seconds = seconds + excluded.seconds",
                    (state, report.get("frames", 0), report.get("seconds", 0.0)),
                )
        return bool(changed)

    def _update(self, change: str, values: tuple[Any, ...], where: str, keys: tuple[Any, ...]) -> bool:
        with self._transaction() as db:
            statement = f"update jobs set {change}, revision = {_NEXT_REVISION} where {where}"
            return bool(db.execute(statement, (*values, *keys)).rowcount)

    def _select(self, where: str, values: tuple[Any, ...] = ()) -> list[JobRecord]:
        with self._connection() as db:
            db.row_factory = sqlite3.Row
            return [_record(row) for row in db.execute(f"select * from jobs {where}", values)]

    def _count(self, where: str, values: tuple[Any, ...] = ()) -> int:
        with self._connection() as db:
            return int(db.execute(f"select count(*) from jobs {where}", values).fetchone()[0])

    def _known(self, job_id: str) -> JobRecord:
        (record,) = self._select("where id = ?", (job_id,))
        return record

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection briefly: that is cheap, and no thread keeps one."""
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")


_NEXT_REVISION = "(select coalesce(max(revision), 0) + 1 from jobs)"


def _tuple(states: tuple[State, ...]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


def _record(row: sqlite3.Row) -> JobRecord:
    values = dict(row)
    for name in ("settings", "error", "report"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return JobRecord(**values | {"deleted": bool(values["deleted"])})
