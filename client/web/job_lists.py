"""What is asked of the jobs' records: one job, lists, counts and totals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from client.options import MODEL
from client.web.job_record import ACTIVE, ENDED, STATES, JobRecord, State
from client.web.job_table import NOT_DELETED, JobTable, record_of
from client.web.tables import jobs, revisions, totals

PACE_JOBS = 20  # last jobs from which the time of the next is estimated


class JobLists(JobTable):
    """Reads the records; changes nothing."""

    def with_key(self, user: str, key: str) -> JobRecord | None:
        """Return a user's job that was sent with an idempotency key, or None."""
        found = self._select(jobs.c.user == user, jobs.c.idempotency_key == key, NOT_DELETED)
        return found[0] if found else None

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job that was not deleted, or None."""
        found = self._select(jobs.c.id == job_id, NOT_DELETED)
        return found[0] if found else None

    def state_of(self, job_id: str) -> State | None:
        """Return a job's state, deleted or not."""
        with self.connection() as db:
            state: State | None = db.execute(sa.select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
        return state

    def cancelling_of(self, job_ids: Collection[str]) -> set[str]:
        """Return which of some jobs are to be cancelled."""
        asked = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state == "cancelling")
        with self.connection() as db:
            return set(db.execute(asked).scalars())

    def jobs_of(
        self, user: str, limit: int, offset: int = 0, *, states: Sequence[State] = (), before: int | None = None
    ) -> list[JobRecord]:
        """Return a user's jobs, the newest first.

        Args:
            user: whose.
            limit: maximum number of jobs.
            offset: number of jobs to skip.
            states: which; all if empty.
            before: only jobs older than the one with this number.
        """
        older = [] if before is None else [jobs.c.number < before]
        chosen = sa.select(jobs).where(*_of_user(user, states), *older)
        with self.connection() as db:
            rows = db.execute(chosen.order_by(jobs.c.number.desc()).limit(limit).offset(offset)).mappings()
            return [record_of(row) for row in rows]

    def count_of(self, user: str, states: Sequence[State] = ()) -> int:
        """Count a user's jobs."""
        return self._count(*_of_user(user, states))

    def revision(self) -> int:
        """Return the newest revision of all jobs."""
        with self.connection() as db:
            return int(db.execute(sa.select(revisions.c.newest)).scalar_one())

    def active(self, user: str | None = None) -> int:
        """Count the jobs that have not ended, of one user or of all."""
        return self._count(jobs.c.state.in_(ACTIVE), *([] if user is None else [jobs.c.user == user]))

    def in_state(self, state: State) -> list[JobRecord]:
        """Return all jobs in a state, the oldest first."""
        return self._select(jobs.c.state == state, order=[jobs.c.number])

    def count_by_state(self) -> dict[State, int]:
        """Count the jobs kept, by state."""
        with self.connection() as db:
            rows = db.execute(
                sa.select(jobs.c.state, sa.func.count().label("number")).where(NOT_DELETED).group_by(jobs.c.state)
            )
            counted = {row.state: row.number for row in rows}
        return {state: counted.get(state, 0) for state in STATES}

    def totals(self) -> dict[State, tuple[int, int, float]]:
        """Return state -> number, frames and seconds of all jobs that ever ended."""
        with self.connection() as db:
            found = {row.state: (row.jobs, row.frames, row.seconds) for row in db.execute(sa.select(totals))}
        return {state: found.get(state, (0, 0, 0.0)) for state in ENDED}

    def changed_since(self, revision: int, user: str, job_id: str | None = None) -> list[JobRecord]:
        """Return a user's jobs, or one of them, that changed after a revision, in order; deleted ones too."""
        only = [] if job_id is None else [jobs.c.id == job_id]
        return self._select(jobs.c.revision > revision, jobs.c.user == user, *only, order=[jobs.c.revision])

    def pace_of(self, model: str) -> float | None:
        """Return the processing time of a second of result, from the last jobs of a model; None without any."""
        ran = jobs.c.settings[MODEL.name].as_string() == model
        last = sa.select(jobs.c.report).where(jobs.c.state == "finished", ran).order_by(jobs.c.number.desc())
        with self.connection() as db:
            reports = [row.report or {} for row in db.execute(last.limit(PACE_JOBS))]
        seconds = sum(report.get("seconds", 0.0) for report in reports)
        length_s = sum(report.get("duration_s", 0.0) for report in reports)
        return seconds / length_s if seconds and length_s else None

    def expired(self, keep_s: float) -> list[JobRecord]:
        """Return ended jobs that are deleted or ended longer ago than that."""
        with self.connection() as db:
            is_old = jobs.c.ended_at < self.clock(db) - keep_s
        return self._select(jobs.c.state.in_(ENDED), sa.or_(jobs.c.deleted, is_old))


def _of_user(user: str, states: Sequence[State]) -> list[sa.ColumnElement[bool]]:
    return [jobs.c.user == user, NOT_DELETED, *([jobs.c.state.in_(states)] if states else [])]
