"""What the routes share: the jobs' records and files, the queue, and the limits per user."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends
from sqlalchemy.exc import IntegrityError, OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from client.options import MODEL
from client.storage import FileMissing, StorageUnavailable
from client.storage.names import MAX_NAME_LENGTH
from client.storage.url_guard import PUBLIC_WEB, UrlGuard
from client.web.admission import Admission, Place
from client.web.callback_store import CallbackStore
from client.web.earlier_files import link_key
from client.web.idempotency import check_same
from client.web.job_checks import JobChecks, Probe
from client.web.job_media import JobMedia
from client.web.job_record import ACTIVE, NO_ORDER, RETRIABLE, JobOrder, JobRecord, files_of
from client.web.job_settings import SCRIPT_FILE, VIDEO_FILE, JobSettings, SettingsBase
from client.web.job_views import JobView, job_view
from client.web.live_streams import LiveStreams, OpenSession
from client.web.media_probe import probe
from client.web.problem_kinds import (
    FILE_GONE,
    NO_SUCH_JOB,
    URLS_OFF,
    WRONG_STATE,
)
from client.web.problems import ProblemError
from client.web.ready_part import find_ready_part
from client.web.scripts import VOICES, WebScript, store_script, stored_script
from client.web.settings import Settings
from client.web.signed_links import LinkSigner
from client.web.store import JobStore
from client.web.triton import LoadedModels


@dataclass(frozen=True)
class Accepted:
    """The answer to a request for a job.

    Attributes:
        view: the job.
        is_repeated: whether an earlier request made it.
    """

    view: JobView
    is_repeated: bool = False


class Service(Admission):
    """The jobs, as routes see them."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        media: JobMedia,
        models: LoadedModels,
        probe: Probe = probe,
        guard: UrlGuard = PUBLIC_WEB,
        open_session: OpenSession | None = None,
    ) -> None:
        """Serve these jobs and models.

        Args:
            settings: limits and folders.
            store: the jobs' records.
            media: the jobs' files.
            models: what the server can run.
            probe: measures uploaded files.
            guard: says which web addresses may be connected to.
            open_session: opens a live stream; None to open it on the server.
        """
        super().__init__(settings, store)
        self.media = media
        self.models = models
        self.guard = guard
        self.callbacks = CallbackStore(store)
        self.links = LinkSigner(link_key(settings.data, store))
        self.checks = JobChecks(settings, models, probe, guard)
        self.live = LiveStreams(settings, models, open_session)
        self.is_ending = False  # event streams end then

    async def accept(
        self,
        place: Place,
        settings: SettingsBase,
        names: Mapping[str, str],
        order: JobOrder = NO_ORDER,
        script: WebScript | None = None,
    ) -> Accepted:
        """Queue a job with the files in a place, or with files that are fetched later.

        Args:
            place: the folder.
            settings: the choices.
            names: part -> file name on the user's machine.
            order: what else the request says.
            script: who speaks when, if the audio alone does not say so.

        Raises:
            ProblemError: 422, the server cannot run it, it is too long, its callback leads nowhere, or its key was used
                for another request; 403, the service sends no callbacks.
        """
        if known := await run_in_threadpool(self._known, place.user, order):
            return await self._repeated(known)
        await run_in_threadpool(self.checks.check_models, settings, script)
        if order.callback_url is not None:
            await self.checks.check_callback(place.user, order.callback_url)
        duration_s = None
        if order.sources is None:
            duration_s = await self.checks.measure(
                place.folder, settings.choices(), script, self.settings.max_duration_s
            )
        if script is not None:
            order = replace(order, voices={name: names[name] for name in script.voices})
            await run_in_threadpool(store_script, script, place.folder, self.disk)
        async with self._counting:  # a job is counted once: as an upload before, as active after
            if known := await run_in_threadpool(self._known, place.user, order):
                return await self._repeated(known)
            try:
                record = await run_in_threadpool(self._record, place, settings, names, duration_s, order)
            except IntegrityError:  # another service has accepted the same request meanwhile
                known = await run_in_threadpool(self._known, place.user, order)
                if known is None:
                    raise
                return await self._repeated(known)
            place.taken = True
            self._uploading[place.user] -= 1
        return Accepted(await run_in_threadpool(self.view, record))

    def _known(self, user: str, order: JobOrder) -> JobRecord | None:
        known = None if order.key is None else self.store.with_key(user, order.key)
        if known is not None:
            check_same(known, order.fingerprint)
        return known

    async def _repeated(self, known: JobRecord) -> Accepted:
        return Accepted(await run_in_threadpool(self.view, known), is_repeated=True)

    def job(self, job_id: str, user: str) -> JobRecord:
        """Return a user's job.

        Raises:
            ProblemError: 404, there is no such job, or it is another user's.
        """
        record = self.find(job_id, user)
        if record is None:
            people = "This video is not in your list any more. It may have been removed."
            raise ProblemError(NO_SUCH_JOB, expected="the id of one of your jobs", got="another", people=people)
        return record

    def find(self, job_id: str, user: str) -> JobRecord | None:
        """Return a user's job, or None if there is no such job or it is another user's."""
        record = self.store.get(job_id)
        return None if record is None or record.user != user else record

    def view(self, record: JobRecord) -> JobView:
        """Return what the user sees of a job."""
        is_waiting = record.state == "queued" and not record.fetching
        return job_view(
            record,
            jobs_ahead=self.store.jobs_ahead(record) if is_waiting else None,
            estimate_s=self._estimate_s(record) if record.state in ACTIVE else None,
            keep_s=self.settings.keep_s,
            callback=None if record.callback_url is None else self.callbacks.state_of(record.id),
            is_ready=find_ready_part(self.media, record) is not None,
        )

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
            self.media.drop_unfinished(now.id)
        if now.state in ("finished", "failed"):
            people = f"This job is {now.state} already, so there is nothing to cancel."
            raise ProblemError(
                WRONG_STATE, expected="a queued or running job", got=f"one that is {now.state}", people=people
            )
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
            raise ProblemError(WRONG_STATE, expected=expected, got=f"one that is {record.state}", people=people)
        await run_in_threadpool(self._check_again, record)
        async with self._counting:
            await run_in_threadpool(self._queue_again, record)
        return await run_in_threadpool(lambda: self.view(self.store.get(record.id) or record))

    def _check_again(self, record: JobRecord) -> None:
        script = None if record.voices is None else self.script_of(record)
        if record.voices is None or script is None:  # a script that is gone is told of with the other files
            self.models.check(record.settings)
        else:
            self.checks.check_models(JobSettings(**record.settings), script)

    def _queue_again(self, record: JobRecord) -> None:
        is_there = all(self.media.has(record.id, name) for name in files_of(record))
        can_be_had = record.sources is not None and not self.media.is_gone(record.id)
        if not is_there and not (can_be_had and (record.voices is None or self.media.has(record.id, SCRIPT_FILE))):
            people = "The files of this job are not here any more. Send them again."
            raise ProblemError(FILE_GONE, expected="a job whose files are still here", got="none", people=people)
        self._check_counts(record.user)
        self.store.retry(record.id, is_to_fetch=not is_there)

    def script_of(self, record: JobRecord) -> WebScript | None:
        """Return the script that a job was sent with; None if there was none, or it is gone."""
        try:
            return stored_script(self.media.show(record.id, SCRIPT_FILE).parent)
        except FileMissing:
            return None

    def delete(self, record: JobRecord) -> None:
        """Remove a job and its files; a running one is cancelled first, and its files go when it has ended."""
        self.store.cancel(record.id)
        self.store.delete(record.id)
        if self.store.state_of(record.id) not in ACTIVE:
            with suppress(StorageUnavailable):  # the files go with the record later
                self.media.remove(record.id)

    def _record(
        self,
        place: Place,
        settings: SettingsBase,
        names: Mapping[str, str],
        duration_s: float | None,
        order: JobOrder,
    ) -> JobRecord:
        job_id = secrets.token_hex(16)
        self.media.take(place.folder, job_id)
        try:
            return self.store.add(job_id, place.user, settings.model_dump(), *titles_of(names), duration_s, order)
        except BaseException:
            with suppress(OperationalError):
                if self.store.state_of(job_id) is None:  # it may be recorded although the answer was lost
                    self.media.forget(job_id)
            raise


def titles_of(names: Mapping[str, str]) -> tuple[str, str]:
    """Return the names of a job's video and of all its voices, for display."""
    return names[VIDEO_FILE], ", ".join(names[part] for part in VOICES if part in names)[:MAX_NAME_LENGTH]


def get_service(request: HTTPConnection) -> Service:
    """Return the app's service, for routes."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


def urls_are_off() -> ProblemError:
    """Return the problem of web addresses that the service does not fetch."""
    got = "web addresses, which this service does not fetch"
    return ProblemError(URLS_OFF, expected="files", got=got, advice="Upload the files")
