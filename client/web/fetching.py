"""Fetches the files of jobs that name web addresses, while the jobs wait in the queue."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress

from sqlalchemy.exc import OperationalError

from client.flushing import flush
from client.storage import StorageUnavailable
from client.storage.fetch import Fetcher
from client.web.failures import servers_failure
from client.web.job_record import Failure, JobRecord
from client.web.job_settings import AUDIO_FILE, SCRIPT_FILE, VIDEO_FILE, VOICE_FILES
from client.web.job_turns import RENEW_EVERY_S
from client.web.labels import AUDIO_URL, VIDEO_URL, VOICE_URLS
from client.web.problems import ARRIVAL_ERRORS, ProblemError, arrival_problem
from client.web.scripts import stored_script
from client.web.service import Service, titles_of, urls_are_off

FILES = {  # field of the request -> file in the job's folder
    VIDEO_URL: VIDEO_FILE,
    AUDIO_URL: AUDIO_FILE,
    **{f"{VOICE_URLS}.{name}": name for name in VOICE_FILES},
}
MAX_AT_ONCE = 4
MAX_OF_USER = 2
STORAGE_EVERY_S = 2.0  # between attempts while the storage does not answer
logger = logging.getLogger("client.web")


class JobFetcher:
    """Fetches what jobs wait for, several jobs at once; jobs that no longer wait are given up."""

    def __init__(self, service: Service) -> None:
        """Fetch for the jobs of this service."""
        self._service = service
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}  # job -> its user and task

    async def look(self) -> None:
        """Begin and end fetches, as the jobs' records say."""
        wanted = {job.id for job in await asyncio.to_thread(self._service.store.to_fetch)}
        for job_id, (_, task) in self._tasks.items():
            if job_id not in wanted:
                task.cancel()
        self._tasks = {job_id: known for job_id, known in self._tasks.items() if not known[1].done()}
        users = Counter(user for user, _ in self._tasks.values())
        for job in await asyncio.to_thread(self._service.store.free_to_fetch):
            if job.id not in self._tasks and len(self._tasks) < MAX_AT_ONCE and users[job.user] < MAX_OF_USER:
                users[job.user] += 1
                self._tasks[job.id] = job.user, asyncio.create_task(self._fetch(job))

    async def _fetch(self, job: JobRecord) -> None:
        """Fetch a job's files and queue it, or record why it failed."""
        store = self._service.store
        if not await asyncio.to_thread(store.claim_fetch, job.id):  # another service fetches them
            return
        keeping = asyncio.create_task(self._keep_claim(job.id))
        try:
            names, duration_s = await self._download_and_measure(job)
        except (ProblemError, *ARRIVAL_ERRORS) as error:
            problem = (error if isinstance(error, ProblemError) else arrival_problem(error)).problem
            failure = Failure(problem.title, problem.detail, problem.user_message)
            await asyncio.to_thread(store.fail, job.id, failure, store.owner)
        except StorageUnavailable as error:
            logger.warning("job %s waits for the storage: %s", job.id, error)
            await asyncio.sleep(STORAGE_EVERY_S)
        except Exception:
            logger.exception("fetching the files of job %s", job.id)
            await asyncio.to_thread(store.fail, job.id, servers_failure("The job ended unexpectedly"), store.owner)
        else:
            voices = None if job.voices is None else {name: names[name] for name in job.voices}
            await asyncio.to_thread(store.fetched, job.id, titles_of(names), duration_s, voices)
        finally:
            keeping.cancel()
            store.release(job.id)

    async def _keep_claim(self, job_id: str) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            with suppress(OperationalError):
                await asyncio.to_thread(self._service.store.renew, [job_id])

    async def _download_and_measure(self, job: JobRecord) -> tuple[dict[str, str], float | None]:
        """Fetch a job's files and put them where they belong; returns part -> name, and how long the speech lasts.

        Raises:
            ProblemError: a file cannot be used.
            LipSyncError: one cannot be had, see ARRIVAL_ERRORS.
            StorageUnavailable: the storage does not answer.
        """
        media, max_s = self._service.media, self._service.settings.max_duration_s
        scripts = [] if job.voices is None else [SCRIPT_FILE]
        folder = await asyncio.to_thread(media.fetch, job.id, scripts)
        names = await self._download(job)
        script = await asyncio.to_thread(stored_script, folder)
        duration_s = await self._service.checks.measure(folder, job.settings, script, max_s)
        await asyncio.to_thread(media.keep, job.id)
        return names, duration_s

    async def _download(self, job: JobRecord) -> dict[str, str]:
        """Write a job's files into its folder; returns part -> name, for display.

        Raises:
            ProblemError: the service fetches nothing any more.
            LipSyncError: one cannot be had, or all are too large; see ARRIVAL_ERRORS.
        """
        service = self._service
        if not service.settings.allow_urls:  # the service was started again without it
            raise urls_are_off()
        left, names = service.settings.max_upload_bytes, {}
        for field, url in (job.sources or {}).items():
            name = FILES[field]
            file = service.settings.job_folder(job.id) / name
            part = file.with_suffix(".part")
            part.unlink(missing_ok=True)  # of a fetch that a crash interrupted
            try:
                names[name] = await Fetcher(left, service.disk, service.guard).fetch(field, url, part)
                left -= part.stat().st_size
                await asyncio.to_thread(flush, part)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)
        return names
