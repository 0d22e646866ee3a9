"""What the routes share: the jobs' records and files, the queue, and the limits per user."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from client.options import END, MODEL, START
from client.web.job_queue import JobQueue
from client.web.job_record import ACTIVE, RETRIABLE, JobRecord
from client.web.job_settings import AUDIO_FILE, PARTS_FOLDER, VIDEO_FILE, SettingsBase
from client.web.media_probe import MediaFacts, Span, check_lengths, probe
from client.web.problems import ProblemError
from client.web.settings import Settings
from client.web.store import JobStore
from client.web.stored_file import is_stored
from client.web.triton import LoadedModels
from client.web.upload import DiskGuard
from client.web.views import JobView, job_view

RETRY_AFTER_S = 30
Probe = Callable[[Sequence[Path]], Awaitable[list[MediaFacts]]]


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


class Service:
    """The jobs, as routes see them."""

    def __init__(
        self, settings: Settings, store: JobStore, queue: JobQueue, models: LoadedModels, probe: Probe = probe
    ) -> None:
        """Serve these jobs and models.

        Args:
            settings: limits and folders.
            store: the jobs' records.
            queue: the jobs' ids.
            models: what the server can run.
            probe: measures uploaded files.
        """
        self.settings = settings
        self.store = store
        self.queue = queue
        self.models = models
        self._probe = probe
        self.disk = DiskGuard(settings.data, settings.min_free_bytes)
        self.is_ending = False  # event streams end then
        self._uploading: Counter[str] = Counter()
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def place_for_upload(self, user: str) -> AsyncIterator[Place]:
        """Provide a folder for a new job's files; it is removed unless `accept` takes it.

        Raises:
            ProblemError: 429, the user or all together have too many jobs; 507, the disk is full.
        """
        self.disk.check()
        async with self._counting:
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

    async def accept(self, place: Place, settings: SettingsBase, video_name: str, audio_name: str) -> JobView:
        """Queue a job with the files in a place.

        Raises:
            ProblemError: 422, the server cannot run it, or it is too long.
        """
        choices = settings.choices()
        await run_in_threadpool(self.models.check, choices)
        video, audio = await self._probe([place.folder / name for name in (VIDEO_FILE, AUDIO_FILE)])
        span = Span(START.read(choices[START.name]), END.read(choices[END.name]))
        check_lengths(video, audio, span, self.settings.max_duration_s)
        async with self._counting:  # a job is counted once: as an upload before, as active after
            record = await run_in_threadpool(self._record, place, settings, (video_name, audio_name), audio.length_s)
            place.taken = True
            self._uploading[place.user] -= 1
        return await run_in_threadpool(self.view, record)

    def check_model(self, fields: Mapping[str, str]) -> None:
        """Check the model of an upload before its files arrive, if it is known already.

        Raises:
            ProblemError: 422, the server has not loaded it.
        """
        if MODEL.name in fields and fields[MODEL.name] in MODEL.kind.schema()["enum"]:
            self.models.check({MODEL.name: fields[MODEL.name]})

    def job(self, job_id: str, user: str) -> JobRecord:
        """Return a user's job.

        Raises:
            ProblemError: 404, there is no such job, or it is another user's.
        """
        record = self.find(job_id, user)
        if record is None:
            people = "This video is not in your list any more. It may have been removed."
            advice = "It may be removed"
            raise ProblemError(404, expected="the id of one of your jobs", got="another", advice=advice, people=people)
        return record

    def find(self, job_id: str, user: str) -> JobRecord | None:
        """Return a user's job, or None if there is no such job or it is another user's."""
        record = self.store.get(job_id)
        return None if record is None or record.user != user else record

    def view(self, record: JobRecord) -> JobView:
        """Return what the user sees of a job."""
        ahead = self.store.jobs_ahead(record) if record.state == "queued" else None
        return job_view(record, ahead, self._estimate_s(record) if record.state in ACTIVE else None)

    def _estimate_s(self, record: JobRecord) -> float | None:
        """Return how long a job will probably take, from earlier ones of its model."""
        pace = None if record.duration_s is None else self.store.pace_of(record.settings[MODEL.name])
        return None if pace is None or record.duration_s is None else pace * record.duration_s

    def cancel(self, record: JobRecord) -> JobRecord:
        """Cancel a job; cancelling it again changes nothing.

        Raises:
            ProblemError: 409, it has ended already.
        """
        self.store.cancel(record.id)
        now = self.store.get(record.id) or record
        if now.state == "cancelled":
            shutil.rmtree(self.settings.job_folder(now.id) / PARTS_FOLDER, ignore_errors=True)
        if now.state in ("finished", "failed"):
            people = f"This job is {now.state} already, so there is nothing to cancel."
            raise ProblemError(409, expected="a queued or running job", got=f"one that is {now.state}", people=people)
        return now

    async def retry(self, record: JobRecord) -> JobView:
        """Queue a failed or cancelled job again, with the files and settings that it has.

        Raises:
            ProblemError: 409, it is in another state; 404, its files are gone; 422, the server cannot run it; 429,
                there are too many jobs.
        """
        if record.state not in RETRIABLE:
            people = f"This job is {record.state}, so it cannot be tried again."
            expected = "a failed or cancelled job"
            raise ProblemError(409, expected=expected, got=f"one that is {record.state}", people=people)
        await run_in_threadpool(self.models.check, record.settings)
        async with self._counting:
            await run_in_threadpool(self._queue_again, record)
        return await run_in_threadpool(lambda: self.view(self.store.get(record.id) or record))

    def _queue_again(self, record: JobRecord) -> None:
        folder = self.settings.job_folder(record.id)
        if not all(is_stored(folder / name) for name in (VIDEO_FILE, AUDIO_FILE)):
            people = "The files of this job are not here any more. Send them again."
            raise ProblemError(404, expected="a job whose files are still here", got="none", people=people)
        self._check_counts(record.user)
        if self.store.retry(record.id):
            self.queue.put(record.id)

    def delete(self, record: JobRecord) -> None:
        """Remove a job and its files; a running one is cancelled first, and its files go when it has ended."""
        self.store.cancel(record.id)
        self.store.delete(record.id)
        if self.store.state_of(record.id) not in ACTIVE:
            shutil.rmtree(self.settings.job_folder(record.id), ignore_errors=True)

    def _check_counts(self, user: str) -> None:
        limits = self.settings
        mine = self.store.active(user) + self._uploading[user]
        if mine >= limits.max_jobs_per_user:
            people = f"You have {mine} unfinished videos, which is as many as this service takes of one person."
            raise _too_many(f"at most {limits.max_jobs_per_user} jobs of yours at once", "one more", people)
        if self.store.active() + self._uploading.total() >= limits.max_jobs:
            raise _too_many("a free place in the queue", "a full queue", "The queue of this service is full.")

    def _record(
        self, place: Place, settings: SettingsBase, names: tuple[str, str], duration_s: float | None
    ) -> JobRecord:
        job_id = secrets.token_hex(16)
        place.folder.rename(self.settings.job_folder(job_id))
        _sync_folder(self.settings.jobs_folder)
        try:
            record = self.store.add(job_id, place.user, settings.model_dump(), *names, duration_s)
        except BaseException:
            shutil.rmtree(self.settings.job_folder(job_id), ignore_errors=True)  # no record leads to it
            raise
        self.queue.put(job_id)
        return record


def get_service(request: Request) -> Service:
    """Return the app's service, for routes."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


def _too_many(expected: str, got: str, people: str) -> ProblemError:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    advice, people = "Wait until one has ended", f"{people} Wait until one has ended, then try again."
    return ProblemError(429, expected=expected, got=got, advice=advice, people=people, headers=headers)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
