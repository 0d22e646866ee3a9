"""Whose turn it is, and who runs what: the table of jobs is the queue itself.

A claim is a lease: it names a process and ends by the database's clock unless it is renewed. A job whose lease has
ended, or whose process is known to be dead, can be claimed by others.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from client.web.job_record import FETCHING, JobRecord
from client.web.job_table import JobTable, next_revision
from client.web.owner import is_dead, new_owner
from client.web.tables import duties, jobs

LEASE_S = 30.0  # how long a claim holds without being renewed
RENEW_EVERY_S = 5.0
RUNNING = ("running", "cancelling")
WAITING = sa.and_(jobs.c.state == "queued", sa.not_(jobs.c.fetching))
TO_FETCH = sa.and_(jobs.c.state == "queued", jobs.c.fetching)
FREED = {"owner": None, "process": None, "lease_ends_at": None}


@dataclass(frozen=True)
class Lease:
    """Who has claimed a job.

    Attributes:
        job_id: the job.
        owner: the process that claimed it.
        process: the process that it runs in, a child of the owner; None before it has started.
        ends_at: when the lease ends if it is not renewed, by the database's clock.
        has_ended: whether the lease is over.
        attempts: number of the job's starts.
    """

    job_id: str
    owner: str | None
    process: str | None
    ends_at: float | None
    has_ended: bool
    attempts: int

    @property
    def is_lost(self) -> bool:
        """Whether nobody runs the job any more."""
        if self.has_ended or self.owner is None:  # without an owner: records of format 4 and before
            return True
        return is_dead(self.owner) and (self.process is None or is_dead(self.process))

    def unchanged(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Return the conditions that nobody has claimed the job anew or renewed the lease."""
        known = (jobs.c.owner, self.owner), (jobs.c.lease_ends_at, self.ends_at), (jobs.c.attempts, self.attempts)
        return tuple(column.is_not_distinct_from(value) for column, value in known)


class JobTurns(JobTable):
    """The order in which jobs run, and the claims. All claims through this object are of one owner."""

    def __init__(self, place: Path | str, owner: str | None = None, process: str | None = None) -> None:
        """Open the records.

        Args:
            place: a SQLite file, or the address of a PostgreSQL database.
            owner: in whose name jobs are claimed; a new one if None.
            process: the process that runs a job of the owner and changes only what it has entered; None for the owner
                itself.

        Raises:
            UsageError: the records cannot be opened.
        """
        super().__init__(place)
        self.owner = owner or new_owner()
        self.process = process
        self._news = threading.Condition()
        self._has_news = False

    def wait_for_jobs(self, timeout_s: float) -> None:
        """Wait until this process queues a job, or for some time: those of other processes are found by looking."""
        with self._news:
            self._news.wait_for(lambda: self._has_news, timeout_s)
            self._has_news = False

    def tell_of_jobs(self) -> None:
        """Wake whoever waits for jobs in this process."""
        with self._news:
            self._has_news = True
            self._news.notify_all()

    def jobs_ahead(self, job: JobRecord) -> int:
        """Count the queued jobs that come before a job."""
        return self.places_of(job.user, job.id).get(job.id, 0)

    def places_of(self, user: str, job_id: str | None = None) -> dict[str, int]:
        """Return a user's queued jobs, or one of them, and how many jobs come before each.

        Users take turns, each with their oldest job. Who has fewer running jobs comes first; among equals, who has
        waited longest since a start.
        """
        order = _order()
        only = [] if job_id is None else [order.c.id == job_id]
        chosen = sa.select(order.c.id, order.c.place).where(order.c.user == user, *only).order_by(order.c.place)
        with self.connection() as db:
            return {row.id: row.place for row in db.execute(chosen)}

    def has_waiting(self) -> bool:
        """Return whether a job waits for a worker."""
        with self.connection() as db:
            return db.execute(sa.select(jobs.c.id).where(WAITING).limit(1)).first() is not None

    def claim(self, job_id: str) -> JobRecord | None:
        """Mark a queued job as running; None if it is no longer queued."""
        with self.transaction() as db:
            found = self._claim(db, jobs.c.id == job_id)
            if not found:
                db.rollback()
        return self._known(job_id) if found else None

    def claim_next(self) -> JobRecord | None:
        """Mark the job whose turn it is as running; None if none waits.

        Claims follow one another, because each takes the next revision first: whose turn it is depends on the claim
        before. So a row that another transaction has locked need not be skipped.
        """
        with self.transaction() as db:
            job_id = self._claim(db, jobs.c.id == _next())
            if job_id is None:
                db.rollback()
        return None if job_id is None else self._known(job_id)

    def _claim(self, db: Connection, which: sa.ColumnElement[bool]) -> str | None:
        revision, now = next_revision(db), self.clock(db)
        claimed = (
            sa.update(jobs)
            .where(which, WAITING)
            .values(
                state="running",
                attempts=jobs.c.attempts + 1,
                started_at=sa.func.coalesce(jobs.c.started_at, now),
                stage="starting",
                stage_started_at=now,
                frames=0,
                total_frames=None,
                owner=self.owner,
                process=None,
                lease_ends_at=now + LEASE_S,
                revision=revision,
            )
        )
        job_id: str | None = db.execute(claimed.returning(jobs.c.id)).scalar()
        return job_id

    def claim_fetch(self, job_id: str) -> bool:
        """Begin to fetch a queued job's files; False if somebody else does, or it no longer waits for them."""
        with self.transaction() as db:
            claimed = sa.update(jobs).where(jobs.c.id == job_id, TO_FETCH, jobs.c.owner.is_(None))
            values = {"owner": self.owner, "lease_ends_at": self.clock(db) + LEASE_S}
            return bool(db.execute(claimed.values(**values)).rowcount)

    def enter(self, job_id: str, attempt: int) -> bool:
        """Record that a claimed job runs in this process; False if it is no longer this owner's, or started again."""
        claimed = jobs.c.id == job_id, jobs.c.owner == self.owner, jobs.c.attempts == attempt
        return self._update({"process": self.process}, *claimed, jobs.c.state.in_(RUNNING))

    def renew(self, job_ids: Collection[str]) -> None:
        """Keep jobs claimed."""
        with self.transaction() as db:
            mine = sa.update(jobs).where(jobs.c.owner == self.owner, jobs.c.id.in_(list(job_ids)))
            db.execute(mine.values(lease_ends_at=self.clock(db) + LEASE_S))

    def is_mine(self, job_id: str) -> bool:
        """Return whether a job is claimed by this owner, and runs in this process if that runs one."""
        return self._count(*self._mine(job_id)) > 0

    def leases(self) -> list[Lease]:
        """Return who has claimed which job, and running jobs that nobody has."""
        claimed = sa.or_(jobs.c.state.in_(RUNNING), sa.and_(TO_FETCH, jobs.c.owner.is_not(None)))
        with self.connection() as db:
            now = self.clock(db)
            rows = db.execute(sa.select(jobs).where(claimed).order_by(jobs.c.number))
            return [
                Lease(row.id, row.owner, row.process, row.lease_ends_at, (row.lease_ends_at or 0.0) < now, row.attempts)
                for row in rows
            ]

    def free(self, lease: Lease) -> bool:
        """Let a lost job wait again, unless it is to be cancelled; False as with `JobStore.give_up`."""
        state = sa.case((jobs.c.state == "cancelling", "cancelling"), else_="queued")
        stage = sa.case((jobs.c.state == "queued", FETCHING), else_="")
        claimed = jobs.c.state.in_((*RUNNING, "queued"))
        values = {"state": state, "stage": stage, **FREED}
        is_freed = self._update(values, jobs.c.id == lease.job_id, claimed, *lease.unchanged())
        if is_freed:
            self.tell_of_jobs()
        return is_freed

    def requeue(self, job_id: str, *, counted: bool = True) -> bool:
        """Put an interrupted job of this owner back into the queue; False if it was not running."""
        values = {"state": "queued", "stage": "", "attempts": jobs.c.attempts - int(not counted), **FREED}
        is_queued = self._update(values, *self._mine(job_id), jobs.c.state == "running")
        if is_queued:
            self.tell_of_jobs()
        return is_queued

    def release(self, job_id: str) -> None:
        """Let others fetch a queued job's files."""
        with self.transaction() as db:
            db.execute(sa.update(jobs).where(*self._mine(job_id), jobs.c.state == "queued").values(**FREED))

    def to_fetch(self) -> list[JobRecord]:
        """Return the queued jobs whose files are to be fetched or are being fetched, the oldest first."""
        return self._select(TO_FETCH, order=[jobs.c.number])

    def free_to_fetch(self) -> list[JobRecord]:
        """Return those of them whose files nobody fetches."""
        return self._select(TO_FETCH, jobs.c.owner.is_(None), order=[jobs.c.number])

    def take_duty(self, name: str, lease_s: float) -> bool:
        """Take what one service at a time does for all; False if another has it, and is not known to be dead."""
        with self.transaction() as db:
            now = self.clock(db)
            values = {"owner": self.owner, "lease_ends_at": now + lease_s}
            known = db.execute(sa.select(duties).where(duties.c.name == name)).first()
            if known is not None:
                if known.owner != self.owner and known.lease_ends_at >= now and not is_dead(known.owner):
                    return False
                same = duties.c.name == name, duties.c.owner == known.owner
                return bool(db.execute(sa.update(duties).where(*same).values(**values)).rowcount)
        return self._begin_duty(name, values)

    def leave_duties(self) -> None:
        """Let others do at once what this owner did for all."""
        with self.transaction() as db:
            db.execute(sa.delete(duties).where(duties.c.owner == self.owner))

    def _begin_duty(self, name: str, values: dict[str, object]) -> bool:
        try:
            with self.transaction() as db:
                db.execute(sa.insert(duties).values(name=name, **values))
        except sa.exc.IntegrityError:  # another service was faster
            return False
        return True

    def _mine(self, job_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return jobs.c.id == job_id, *self._of(self.owner)

    def _of(self, owner: str | None) -> list[sa.ColumnElement[bool]]:
        """Return the conditions that a job is an owner's and in this process; none if anybody may change it."""
        if owner is None:
            return []
        return [jobs.c.owner == owner, *([] if self.process is None else [jobs.c.process == self.process])]


def _standing() -> tuple[sa.ScalarSelect[int], sa.ScalarSelect[float]]:
    """Return a user's number of running jobs and last start, for a query over jobs."""
    others = jobs.alias("others")
    its_own = others.c.user == jobs.c.user
    running = sa.select(sa.func.count()).select_from(others).where(its_own, others.c.state.in_(RUNNING))
    started_at = sa.select(sa.func.coalesce(sa.func.max(others.c.started_at), 0.0)).where(its_own)
    return running.correlate(jobs).scalar_subquery(), started_at.correlate(jobs).scalar_subquery()


def _next() -> sa.ScalarSelect[str]:
    """Return the id of the job whose turn it is: of each user only the oldest can be."""
    oldest = sa.select(sa.func.min(jobs.c.number)).where(WAITING).group_by(jobs.c.user)
    running, started_at = _standing()
    first = sa.select(jobs.c.id).where(jobs.c.number.in_(oldest), WAITING)
    return first.order_by(running, started_at, jobs.c.number).limit(1).scalar_subquery()


def _order() -> sa.Subquery:
    """Return the waiting jobs with user and place."""
    running, started_at = _standing()
    users = sa.select(jobs.c.user, running.label("running"), started_at.label("started_at")).where(WAITING)
    standing = users.group_by(jobs.c.user).subquery()
    round_ = (sa.func.row_number().over(partition_by=jobs.c.user, order_by=jobs.c.number) - 1).label("round")
    waiting = sa.select(jobs.c.id, jobs.c.user, jobs.c.number, round_).where(WAITING).subquery()
    joined = waiting.join(standing, standing.c.user == waiting.c.user)
    by_turn = (
        standing.c.running + waiting.c.round,
        sa.case((waiting.c.round > 0, 1), else_=0),
        standing.c.started_at,
        waiting.c.number,
    )
    place = (sa.func.row_number().over(order_by=by_turn) - 1).label("place")
    return sa.select(waiting.c.id, waiting.c.user, place).select_from(joined).subquery()
