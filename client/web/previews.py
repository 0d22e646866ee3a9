"""Previews of a job's video, kept beside its files: made once, for all services."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from client.storage import FileMissing
from client.web.job_record import JobRecord
from client.web.job_settings import VIDEO_FILE
from client.web.problems import file_is_gone
from client.web.service import Service
from client.web.stored_file import is_stored
from client.web.video_preview import Kind, make_preview

_copying = asyncio.Semaphore(1)  # so that the disk holds one copied video at a time


async def make_preview_here(service: Service, job: JobRecord, kind: Kind) -> None:
    """Make a preview in the job's folder.

    Raises:
        ProblemError: 404, the video is gone; 422, it cannot be shown; 507, the disk is full.
    """
    video = service.media.folder(job.id) / VIDEO_FILE
    if not is_stored(video):
        raise file_is_gone(VIDEO_FILE)
    await run_in_threadpool(service.disk.check)
    await make_preview(kind, video, video.with_name(kind))


async def make_stored_preview(service: Service, job: JobRecord, kind: Kind) -> None:
    """Make a preview from a copy of the video, which is removed at once, and put it into the storage.

    Raises:
        ProblemError: as `make_preview_here`; the disk needs room for the video.
        StorageUnavailable: the storage does not answer.
    """
    media = service.media
    async with _copying:
        if await run_in_threadpool(media.has, job.id, kind):  # made meanwhile
            return
        facts = await run_in_threadpool(media.facts, job.id, VIDEO_FILE)
        if facts is None:
            raise file_is_gone(VIDEO_FILE)
        await run_in_threadpool(service.disk.check, facts.nbytes)
        folder = service.settings.shown_folder / secrets.token_hex(16)
        try:
            await run_in_threadpool(media.fetch, job.id, [VIDEO_FILE], folder)
            await make_preview(kind, folder / VIDEO_FILE, folder / kind)
            await run_in_threadpool(_keep, service, job.id, folder / kind)
        except FileMissing:
            raise file_is_gone(VIDEO_FILE) from None
        finally:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


def _keep(service: Service, job_id: str, preview: Path) -> None:
    """Put a preview into the storage, unless the job has been removed meanwhile."""
    service.media.put(job_id, preview)
    if service.store.get(job_id) is None:
        service.media.remove(job_id)
