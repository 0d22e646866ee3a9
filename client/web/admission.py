"""Who may send a job now: limits per user, of all together, and of the disk."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from client.storage.disk import DiskGuard
from client.web.problem_kinds import QUEUE_FULL, TOO_MANY_JOBS, ProblemKind
from client.web.problems import ProblemError
from client.web.settings import Settings
from client.web.store import JobStore


@dataclass
class Place:
    """A user's folder for an upload.

    Attributes:
        user: who uploads.
        folder: the folder.
        taken: whether it has become a job's folder.
    """

    user: str
    folder: Path
    taken: bool = False


class Admission:
    """Counts jobs and uploads, and gives uploads a place."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        """Count the jobs of these records."""
        self.settings = settings
        self.store = store
        self.disk = DiskGuard(settings.data, settings.min_free_bytes)
        self._uploading: Counter[str] = Counter()
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def place_for_upload(self, user: str, key: str | None = None) -> AsyncIterator[Place]:
        """Provide a folder for a new job's files; it is removed unless `accept` takes it.

        Args:
            user: who uploads.
            key: idempotency key; what was accepted with it before needs no free place in the queue.

        Raises:
            ProblemError: 429, the user or all together have too many jobs.
            DiskFull: there is no room for files.
        """
        self.disk.check()
        async with self._counting:
            if key is None or await run_in_threadpool(self.store.with_key, user, key) is None:
                await run_in_threadpool(self._check_counts, user)
            self._uploading[user] += 1
        place = Place(user, self.settings.uploads_folder / secrets.token_hex(16))
        try:
            place.folder.mkdir(mode=0o700)
            yield place
        finally:
            if not place.taken:
                self._uploading[user] -= 1
                await run_in_threadpool(shutil.rmtree, place.folder, ignore_errors=True)

    def unfinished(self, user: str) -> int:
        """Count a user's jobs that have not ended, uploads included."""
        return self.store.active(user) + self._uploading[user]

    def _check_counts(self, user: str) -> None:
        limits = self.settings
        mine = self.unfinished(user)
        if mine >= limits.max_jobs_per_user:
            people = f"You have {mine} unfinished videos, which is as many as this service takes of one person."
            raise _too_many(
                TOO_MANY_JOBS, f"at most {limits.max_jobs_per_user} jobs of yours at once", "one more", people
            )
        if self.store.active() + self._uploading.total() >= limits.max_jobs:
            raise _too_many(
                QUEUE_FULL, "a free place in the queue", "a full queue", "The queue of this service is full."
            )


def _too_many(kind: ProblemKind, expected: str, got: str, people: str) -> ProblemError:
    advice, people = "Wait until one has ended", f"{people} Wait until one has ended, then try again."
    return ProblemError(kind, expected=expected, got=got, advice=advice, people=people)
