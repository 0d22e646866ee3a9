"""The ends of jobs that are still to be told to web addresses, beside the jobs' records."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from client.web.database import Database
from client.web.job_record import JobRecord
from client.web.job_table import record_of
from client.web.tables import callbacks, jobs

DELAYS_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0)  # after each attempt that failed; then it is given up
LEASE_S = 60.0  # how long an attempt belongs to the process that began it
MAX_OF_USER = 4  # of one user at a time
MAX_AT_ONCE = 16


@dataclass(frozen=True)
class Callback:
    """A job's end that is to be told.

    Attributes:
        id: the same for all attempts.
        user: the job's owner.
        url: whom to tell.
        record: the job as it was when it ended.
        attempts: number of attempts, this one included.
    """

    id: str
    user: str
    url: str
    record: JobRecord
    attempts: int


@dataclass(frozen=True)
class CallbackState:
    """How far a job's callback has come.

    Attributes:
        attempts: number of attempts so far.
        is_over: whether no further one follows.
        answer: why the last one failed; empty if it did not.
    """

    attempts: int
    is_over: bool
    answer: str


class CallbackStore:
    """The callbacks; several processes can use them at once."""

    def __init__(self, database: Database) -> None:
        """Use this database."""
        self._database = database

    def take_due(self) -> list[Callback]:
        """Begin an attempt at those that are due, a few of each user; they come back if this process dies."""
        with self._database.transaction() as db:
            now = self._database.clock(db)
            is_due = sa.or_(
                callbacks.c.due_at <= now,
                callbacks.c.due_at > now + DELAYS_S[-1] + LEASE_S,  # the clock was set back
            )
            place = sa.func.row_number().over(partition_by=callbacks.c.user, order_by=callbacks.c.due_at)
            due = sa.select(callbacks.c.id, callbacks.c.due_at, place.label("place")).where(is_due).subquery()
            first = sa.select(due.c.id).where(due.c.place <= MAX_OF_USER).order_by(due.c.due_at).limit(MAX_AT_ONCE)
            chosen = sa.select(callbacks).where(callbacks.c.id.in_(first), is_due).order_by(callbacks.c.due_at)
            rows = db.execute(chosen.with_for_update(skip_locked=True)).mappings().all()
            taken = sa.update(callbacks).where(callbacks.c.id.in_([row["id"] for row in rows]))
            db.execute(taken.values(attempts=callbacks.c.attempts + 1, due_at=now + LEASE_S))
        return [
            Callback(row["id"], row["user"], row["url"], record_of(row["record"]), row["attempts"] + 1) for row in rows
        ]

    def note(self, callback: Callback, answer: str) -> bool:
        """Record the outcome of an attempt, "" for success; returns whether another one follows."""
        follows = bool(answer) and callback.attempts <= len(DELAYS_S)
        with self._database.transaction() as db:
            due_at = self._database.clock(db) + DELAYS_S[callback.attempts - 1] if follows else None
            this = sa.update(callbacks).where(callbacks.c.id == callback.id, callbacks.c.attempts == callback.attempts)
            db.execute(this.values(answer=answer, due_at=due_at))
        return follows

    def state_of(self, job_id: str) -> CallbackState | None:
        """Return how far a job's last callback has come; None if the job has not ended."""
        last = sa.select(callbacks).where(callbacks.c.job_id == job_id).order_by(callbacks.c.number.desc()).limit(1)
        with self._database.connection() as db:
            row = db.execute(last).first()
        return None if row is None else CallbackState(row.attempts, row.due_at is None, row.answer)

    def purge(self) -> None:
        """Remove those that are over, and whose job is gone."""
        with self._database.transaction() as db:
            is_gone = callbacks.c.job_id.not_in(sa.select(jobs.c.id))
            db.execute(sa.delete(callbacks).where(callbacks.c.due_at.is_(None), is_gone))
