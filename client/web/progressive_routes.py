"""The route of a running job's result: what is ready of it, as it grows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from client.web.event_routes import FOLLOW_EVERY_S
from client.web.file_routes import BYTES, FILE_HEADERS, JobId
from client.web.job_record import JobRecord
from client.web.problem_kinds import NOTHING_READY, WRONG_STATE
from client.web.problems import ProblemError, problem_responses
from client.web.ready_part import ReadyPart, find_ready_part
from client.web.security import User
from client.web.service import Service, ServiceDep

CHUNK_BYTES = 65_536
MP4 = "video/mp4"
READY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A fragmented mp4 that grows until the job ends; `Content-Type` names its codecs.",
        "content": {MP4: {"schema": BYTES}},
    }
}
router = APIRouter(tags=["files"])


@router.get(
    "/jobs/{job_id}/progressive",
    response_class=StreamingResponse,
    responses={**READY, **problem_responses(401, 404, 409)},
)
async def get_progressive(job_id: JobId, user: User, service: ServiceDep) -> StreamingResponse:
    """Return what is ready of a running job's result, from its beginning, and the rest as it is made.

    It can be played meanwhile, for example with Media Source Extensions. It is neither checked nor signed, and whole
    only where the job finishes. `links.progressive` of the job says whether there is something to watch.
    """
    job = await run_in_threadpool(service.job, job_id, user)
    part = await run_in_threadpool(_ready_part, service, job)
    headers = FILE_HEADERS | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_grow(service, job_id, part.path), media_type=part.media_type, headers=headers)


def _ready_part(service: Service, job: JobRecord) -> ReadyPart:
    """Return a job's progressive file.

    Raises:
        ProblemError: 409, the job does not run; 404, there is nothing to watch, or not on this machine.
    """
    if job.state != "running":
        people = f"There is nothing to watch: the job is {job.state}."
        raise ProblemError(WRONG_STATE, expected="a running job", got=f"one that is {job.state}", people=people)
    part = find_ready_part(service.media, job)
    if part is None:
        people = (
            "There is nothing to watch yet, or the video is made on another machine or in a format that cannot be"
            " watched meanwhile."
        )
        expected = "a job that writes its result on this machine, in a format that can be watched meanwhile"
        raise ProblemError(NOTHING_READY, expected=expected, got="none so far", people=people)
    return part


async def _grow(service: Service, job_id: str, path: Path) -> AsyncIterator[bytes]:
    """Yield a file's bytes until it is complete or its job no longer runs."""
    try:
        file = await run_in_threadpool(path.open, "rb")
    except FileNotFoundError:  # the job has just ended
        return
    with file:
        is_over = False
        while not is_over:
            # Asked before the rest is read, so that nothing is missed.
            is_over = service.is_ending or not await run_in_threadpool(_is_written, service, job_id, file)
            while chunk := await run_in_threadpool(file.read, CHUNK_BYTES):
                yield chunk
            if not is_over:
                await asyncio.sleep(FOLLOW_EVERY_S)


def _is_written(service: Service, job_id: str, file: IO[bytes]) -> bool:
    """Return whether a job still writes its progressive file, which it removes at its end."""
    return os.fstat(file.fileno()).st_nlink > 0 and service.store.state_of(job_id) == "running"
