"""The jobs' records, shared by services, workers and job processes. Does not read media."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from client.web.job_lists import JobLists
from client.web.job_record import ENDED, FETCHING, NO_ORDER, RETRIABLE, Failure, JobOrder, JobRecord, State
from client.web.job_table import CLOCK, NOT_DELETED, next_revision, record_of
from client.web.job_turns import FREED, TO_FETCH, JobTurns, Lease
from client.web.settings import Settings
from client.web.tables import callbacks, jobs, revoked_sessions, shared, totals

LIP_SYNCING = "lip-syncing"  # the stage in which an attempt makes progress
TOMBSTONE_S = 120.0  # how long a deleted job's record stays, so that every follower is told
FILE_NAME = "jobs.sqlite3"  # in the data folder


def open_store(settings: Settings) -> JobStore:
    """Open the records that the settings name: a database, or a file in the data folder.

    Raises:
        UsageError: they cannot be opened.
    """
    return JobStore(store_place(settings))


def store_place(settings: Settings) -> Path | str:
    """Return where the records are."""
    return settings.data / FILE_NAME if settings.store is None else settings.store


class JobStore(JobTurns, JobLists):
    """The records; several threads and processes can use them at once."""

    def add(
        self,
        job_id: str,
        user: str,
        settings: dict[str, Any],
        video_name: str,
        audio_name: str,
        duration_s: float | None = None,
        order: JobOrder = NO_ORDER,
    ) -> JobRecord:
        """Record a new job, queued; one whose files are to be fetched first waits for them.

        Raises:
            sqlalchemy.exc.IntegrityError: the user has a job with the order's key already.
        """
        is_to_fetch = order.sources is not None
        values = {
            "id": job_id,
            "user": user,
            "state": "queued",
            "settings": settings,
            "video_name": video_name,
            "audio_name": audio_name,
            "duration_s": duration_s,
            "idempotency_key": order.key,
            "fingerprint": order.fingerprint,
            "callback_url": order.callback_url,
            "sources": order.sources,
            "voices": order.voices,
            "fetching": is_to_fetch,
            "stage": FETCHING if is_to_fetch else "",
        }
        with self.transaction() as db:
            revision = next_revision(db)
            new = sa.insert(jobs).values(**values, created_at=self.clock(db), revision=revision, number=revision)
            record = record_of(db.execute(new.returning(jobs)).mappings().one())
        self.tell_of_jobs()
        return record

    def fetched(
        self,
        job_id: str,
        names: tuple[str, str],
        duration_s: float | None,
        voices: Mapping[str, str] | None = None,
    ) -> bool:
        """Record that a job's files are there; False if this owner does not fetch them any more."""
        values = {
            "fetching": False,
            "stage": "",
            "video_name": names[0],
            "audio_name": names[1],
            "duration_s": duration_s,
            "voices": None if voices is None else dict(voices),
            **FREED,
        }
        is_queued = self._update(values, *self._mine(job_id), TO_FETCH)
        if is_queued:
            self.tell_of_jobs()
        return is_queued

    def begin_stage(self, job_id: str, stage: str, total_frames: int | None, owner: str | None = None) -> bool:
        """Record the stage that a running job enters; False if it is not running, or no longer this owner's."""
        values = {"stage": stage, "stage_started_at": CLOCK, "frames": 0, "total_frames": total_frames}
        return self._update(values, *self._running(job_id, owner))

    def note_frames(self, job_id: str, frames: int, owner: str | None = None) -> bool:
        """Record how many frames of the stage are done; False as with `begin_stage`."""
        return self._update({"frames": frames}, *self._running(job_id, owner))

    def advance(self, job_id: str) -> bool:
        """Record how far a job that this owner runs has come; False if it had come as far before."""
        is_further = jobs.c.stage == LIP_SYNCING, jobs.c.frames > jobs.c.furthest
        return self._update({"furthest": jobs.c.frames}, *self._running(job_id, self.owner), *is_further)

    def retry(self, job_id: str, *, is_to_fetch: bool = False) -> bool:
        """Queue a failed or cancelled job again, as if it had never run; False if it is in another state."""
        values = {
            "state": "queued",
            "fetching": is_to_fetch,
            "stage": FETCHING if is_to_fetch else "",
            "furthest": 0,
            "frames": 0,
            "total_frames": None,
            "attempts": 0,
            "error": None,
            "started_at": None,
            "ended_at": None,
            **FREED,
        }
        is_queued = self._update(values, jobs.c.id == job_id, jobs.c.state.in_(RETRIABLE), NOT_DELETED)
        if is_queued:
            self.tell_of_jobs()
        return is_queued

    def cancel(self, job_id: str) -> None:
        """Cancel a queued job, or request the cancellation of a running one."""
        if not self._end(job_id, "cancelled", ("queued",)):
            self._update({"state": "cancelling"}, *self._running(job_id, None))

    def end_cancelled(self, job_id: str, owner: str | None = None) -> None:
        """Record that a job whose cancellation was requested has ended, if it is the owner's."""
        self._end(job_id, "cancelled", ("cancelling",), owner=owner)

    def finish(self, job_id: str, report: dict[str, Any], owner: str | None = None) -> bool:
        """Record a complete result, also if the job was to be cancelled; False if it is not the owner's."""
        return self._end(job_id, "finished", ("running", "cancelling"), report=report, owner=owner)

    def fail(self, job_id: str, failure: Failure, owner: str | None = None) -> bool:
        """Record a failure; False if the job has ended, or is not the owner's."""
        return self._end(job_id, "failed", ("queued", "running"), error=asdict(failure), owner=owner)

    def give_up(self, lease: Lease, failure: Failure) -> bool:
        """Record that a lost job has failed; False if somebody has claimed it anew or renewed the claim."""
        return self._end(lease.job_id, "failed", ("queued", "running"), error=asdict(failure), where=lease.unchanged())

    def delete(self, job_id: str) -> None:
        """Hide a job from its user; `purge` removes the record some time after the job has ended."""
        values = {"deleted": True, "idempotency_key": None, "ended_at": CLOCK}
        self._update(values, jobs.c.id == job_id, NOT_DELETED)

    def purge(self, job_ids: Collection[str]) -> None:
        """Remove the records of those of these jobs that were deleted some time ago; their files must be gone."""
        with self.transaction() as db:
            is_old = jobs.c.ended_at < self.clock(db) - TOMBSTONE_S
            known = jobs.c.id.in_(list(job_ids))
            db.execute(sa.delete(jobs).where(known, jobs.c.deleted, jobs.c.state.in_(ENDED), is_old))

    def shared_bytes(self, name: str, new: bytes) -> bytes:
        """Return what all services of the store agree on under a name; it is `new` if there was nothing before."""
        known = sa.select(shared.c.value).where(shared.c.name == name)
        try:
            with self.transaction() as db:
                if db.execute(known).first() is None:
                    db.execute(sa.insert(shared).values(name=name, value=base64.b64encode(new).decode()))
        except sa.exc.IntegrityError:  # another service was faster
            pass
        with self.connection() as db:
            return base64.b64decode(db.execute(known).scalar_one())

    def revoke_session(self, session: str, expires_at: int) -> None:
        """Record that a session was ended before its time."""
        with self.transaction() as db:
            known = sa.select(revoked_sessions).where(revoked_sessions.c.session == session)
            if db.execute(known).first() is None:
                db.execute(sa.insert(revoked_sessions).values(session=session, expires_at=expires_at))

    def is_revoked(self, session: str) -> bool:
        """Return whether a session was ended before its time."""
        known = sa.select(revoked_sessions.c.session).where(revoked_sessions.c.session == session)
        with self.connection() as db:
            return db.execute(known).first() is not None

    def forget_sessions(self) -> None:
        """Remove the revoked sessions that have expired anyway."""
        with self.transaction() as db:
            db.execute(sa.delete(revoked_sessions).where(revoked_sessions.c.expires_at < self.clock(db)))

    def _end(
        self,
        job_id: str,
        state: State,
        before: tuple[State, ...],
        *,
        report: dict[str, Any] | None = None,
        error: dict[str, str] | None = None,
        owner: str | None = None,
        where: Sequence[sa.ColumnElement[bool]] = (),
    ) -> bool:
        with self.transaction() as db:
            revision = next_revision(db)
            now = self.clock(db)
            ended = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(before), *self._of(owner), *where)
            values = {"state": state, "fetching": False, "ended_at": now, "report": report, "error": error, **FREED}
            if not db.execute(ended.values(**values, revision=revision)).rowcount:
                db.rollback()
                return False
            _count_end(db, state, report or {})
            _add_callback(db, job_id, now, revision)
        return True

    def _running(self, job_id: str, owner: str | None) -> list[sa.ColumnElement[bool]]:
        return [jobs.c.id == job_id, jobs.c.state == "running", *self._of(owner)]


def _count_end(db: Connection, state: State, report: Mapping[str, Any]) -> None:
    """Add a job to the totals; no other transaction does so at the same time, because each has taken a revision."""
    frames, seconds = report.get("frames", 0), report.get("seconds", 0.0)
    more = {
        "jobs": totals.c.jobs + 1,
        "frames": totals.c.frames + frames,
        "seconds": totals.c.seconds + seconds,
    }
    if not db.execute(sa.update(totals).where(totals.c.state == state).values(**more)).rowcount:
        db.execute(sa.insert(totals).values(state=state, jobs=1, frames=frames, seconds=seconds))


def _add_callback(db: Connection, job_id: str, now: float, revision: int) -> None:
    """Record that a job's end is to be told, if that was asked for, and what the job was like then."""
    row = db.execute(sa.select(jobs).where(jobs.c.id == job_id, jobs.c.callback_url.is_not(None))).mappings().first()
    if row is not None:
        values = {
            "id": secrets.token_hex(16),
            "job_id": job_id,
            "user": row["user"],
            "url": row["callback_url"],
            "record": dict(row),
            "due_at": now,
            "number": revision,
        }
        db.execute(sa.insert(callbacks).values(**values))
