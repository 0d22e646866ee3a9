"""The routes of jobs: send, list, follow, download, cancel, remove."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from client.options import CONTAINER
from client.web.fetch import Fetcher
from client.web.job_record import ENDED, JobRecord
from client.web.job_settings import AUDIO_FILE, SETTING_NAMES, VIDEO_FILE, JobSettings, SettingsBase, result_file
from client.web.labels import AUDIO_URL, VIDEO_URL
from client.web.media_type import KINDS, media_type
from client.web.problems import ProblemError, problem_responses, validation_problem
from client.web.security import User
from client.web.service import Service, ServiceDep
from client.web.stored_file import StoredFile, is_stored
from client.web.upload import Upload, UploadReader
from client.web.video_preview import Kind, make_preview
from client.web.views import EXAMPLE_ID, JobList, JobView, UrlJob, download_name

FOLLOW_EVERY_S = 0.4
KEEP_ALIVE_S = 15.0
MAX_LISTED = 200
MAX_REVISION = 2**53  # exact in every language
FILE_PARTS = (VIDEO_FILE, AUDIO_FILE)
FILE_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-cache"}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`event: job` with a job as JSON at every change, `event: deleted` with its id.",
        "content": {"text/event-stream": {"example": "event: job\nid: 7\ndata: {}\n\n"}},
    }
}
BYTES = {"type": "string", "format": "binary"}
_FILE_CONTENT = {kind: {"schema": BYTES} for kind in KINDS}
MEDIA: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _FILE_CONTENT},
    206: {"description": "The part that the Range header asks for.", "content": _FILE_CONTENT},
    304: {"description": "The file that If-None-Match or If-Modified-Since names has not changed."},
}
JobId = Annotated[str, Path(description="The job's id.", examples=[EXAMPLE_ID])]
LastEventId = Annotated[
    int | None, Header(ge=-1, le=MAX_REVISION, description="Last event before the connection was lost.")
]
router = APIRouter(tags=["jobs"])


def multipart_body() -> dict[str, Any]:
    """Describe the body with files, for the OpenAPI document."""
    choices = JobSettings.model_json_schema()
    files = {
        name: {**BYTES, "minLength": 1, "description": text}
        for name, text in (
            (VIDEO_FILE, "Video or still image that shows the speaker."),
            (AUDIO_FILE, "Speech: an audio file, or a video whose sound is used."),
        )
    }
    schema = {
        "type": "object",
        "properties": {**files, **choices["properties"]},
        "required": list(FILE_PARTS),
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _either_body() -> dict[str, Any]:
    """Describe both kinds of body that POST /jobs accepts."""
    body = multipart_body()
    example = {"video_url": "https://example.org/speaker.mp4", "audio_url": "https://example.org/speech.wav"}
    body["content"]["application/json"] = {"schema": UrlJob.model_json_schema(), "example": example}
    return body


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    openapi_extra={"requestBody": _either_body()},
    responses={
        202: {"headers": {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}}},
        **problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 507),
    },
)
async def create_job(request: Request, response: Response, user: User, service: ServiceDep) -> JobView:
    """Queue a job for a video and recorded speech.

    Send the files as multipart/form-data or, if the service allows it, their public web addresses as JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    take = _create_url_job if kind == "application/json" else create_files_job
    view = await take(request, user, service)
    response.headers["Location"] = view.links.self
    return view


async def create_files_job(request: Request, user: str, service: Service) -> JobView:
    """Queue a job of a multipart body.

    Raises:
        ProblemError: the body cannot be used, or there is no room for it.
    """
    async with service.place_for_upload(user) as place:
        files = {name: place.folder / name for name in FILE_PARTS}
        reader = UploadReader(
            files, service.settings.max_upload_bytes, service.disk, SETTING_NAMES, service.check_model
        )
        upload = await reader.read(request)
        return await service.accept(place, _settings(upload), *(upload.names[name] for name in FILE_PARTS))


async def _create_url_job(request: Request, user: str, service: Service) -> JobView:
    if not service.settings.allow_urls:
        got = "web addresses, which this service does not fetch"
        raise ProblemError(403, expected="files", got=got, advice="Upload the files")
    try:
        job = UrlJob.model_validate_json(await request.body())
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    names, left = [], service.settings.max_upload_bytes
    async with service.place_for_upload(user) as place:
        for field, url, name in ((VIDEO_URL, job.video_url, VIDEO_FILE), (AUDIO_URL, job.audio_url, AUDIO_FILE)):
            file = place.folder / name
            names.append(await Fetcher(left, service.disk).fetch(field, url, file))
            left -= file.stat().st_size
        settings = JobSettings(**job.model_dump(include=set(SETTING_NAMES)))
        return await service.accept(place, settings, *names)


def _settings(upload: Upload) -> SettingsBase:
    try:
        return JobSettings.model_validate(upload.fields)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error


@router.get("/jobs", response_model=JobList, responses=problem_responses(401, 422))
def list_jobs(
    user: User,
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Maximum number of jobs.")] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Number of jobs to skip.")] = 0,
) -> JobList:
    """List your jobs, the newest first."""
    revision = service.store.revision()  # read before the list: a change in between is sent twice, never lost
    jobs = service.store.jobs_of(user, limit, offset)
    views = [service.view(job) for job in jobs]
    return JobList(jobs=views, total=service.store.count_of(user), revision=revision)


@router.get("/jobs/{job_id}", response_model=JobView, responses=problem_responses(401, 404))
def get_job(job_id: JobId, user: User, service: ServiceDep) -> JobView:
    """Return one job: state, stage, progress, speed, remaining time, warnings and report."""
    return service.view(service.job(job_id, user))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={**EVENTS, 204: {"description": "The caller knows the job's end."}, **problem_responses(401, 404, 422)},
)
async def follow_job(job_id: JobId, user: User, service: ServiceDep, last_event_id: LastEventId = None) -> Response:
    """Follow one job by server-sent events until it has ended; who knows the end is told not to connect again."""
    job = await run_in_threadpool(service.job, job_id, user)
    if job.state in ENDED and last_event_id is not None and last_event_id >= job.revision:
        return Response(status_code=204)
    return _event_stream(_follow(service, user, job_id))


@router.get("/events", response_class=StreamingResponse, responses={**EVENTS, **problem_responses(401, 422)})
async def follow_jobs(
    user: User,
    service: ServiceDep,
    after: Annotated[int, Query(ge=-1, le=MAX_REVISION, description="Last revision that the caller knows.")] = -1,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Follow all your jobs by server-sent events: first each of them, or those changed after a revision."""
    known = after if last_event_id is None else last_event_id
    return _event_stream(_follow(service, user, None, known))


@router.get(
    "/jobs/{job_id}/result",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 409, 416, 422)},
)
def get_result(
    job_id: JobId,
    user: User,
    service: ServiceDep,
    download: Annotated[bool, Query(description="Send it as a download instead of showing it.")] = False,
) -> FileResponse:
    """Return the finished video; the Range header selects a part."""
    return result_response(service, service.job(job_id, user), download=download)


@router.get(
    "/jobs/{job_id}/video", response_class=FileResponse, responses={**MEDIA, **problem_responses(401, 404, 416)}
)
def get_video(job_id: JobId, user: User, service: ServiceDep) -> FileResponse:
    """Return the uploaded video, to show beside the result; the Range header selects a part."""
    return _upload_response(service, service.job(job_id, user), VIDEO_FILE)


@router.get(
    "/jobs/{job_id}/audio", response_class=FileResponse, responses={**MEDIA, **problem_responses(401, 404, 416)}
)
def get_audio(job_id: JobId, user: User, service: ServiceDep) -> FileResponse:
    """Return the uploaded speech, to send it again with another video; the Range header selects a part."""
    return _upload_response(service, service.job(job_id, user), AUDIO_FILE)


@router.get(
    "/jobs/{job_id}/preview",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 416, 422, 507)},
)
async def get_preview(job_id: JobId, user: User, service: ServiceDep) -> FileResponse:
    """Return a small H.264 without sound of the uploaded video, for browsers that cannot show the video itself."""
    return await _preview_response(service, await run_in_threadpool(service.job, job_id, user), "proxy")


@router.get(
    "/jobs/{job_id}/poster",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 416, 422, 507)},
)
async def get_poster(job_id: JobId, user: User, service: ServiceDep) -> FileResponse:
    """Return the first picture of the uploaded video as a JPEG."""
    return await _preview_response(service, await run_in_threadpool(service.job, job_id, user), "poster")


@router.post("/jobs/{job_id}/cancel", response_model=JobView, responses=problem_responses(401, 403, 404, 409))
def cancel_job(job_id: JobId, user: User, service: ServiceDep) -> JobView:
    """Cancel a job: a queued one immediately, a running one within one step of its model."""
    return service.view(service.cancel(service.job(job_id, user)))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    response_model=JobView,
    responses=problem_responses(401, 403, 404, 409, 422, 429),
)
async def retry_job(job_id: JobId, user: User, service: ServiceDep) -> JobView:
    """Queue a failed or cancelled job again, with the same files and settings."""
    return await service.retry(await run_in_threadpool(service.job, job_id, user))


@router.delete("/jobs/{job_id}", status_code=204, responses=problem_responses(401, 403, 404))
def delete_job(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Remove a job and all its files; a running job is cancelled first."""
    service.delete(service.job(job_id, user))
    return Response(status_code=204)


def _upload_response(service: Service, job: JobRecord, name: str) -> FileResponse:
    path = service.settings.job_folder(job.id) / name
    if not is_stored(path):
        raise _file_is_gone(name)
    return StoredFile(path, media_type=media_type(path), headers=FILE_HEADERS)


async def _preview_response(service: Service, job: JobRecord, kind: Kind) -> FileResponse:
    folder = service.settings.job_folder(job.id)
    if not is_stored(folder / VIDEO_FILE):
        raise _file_is_gone("video")
    await run_in_threadpool(service.disk.check)
    await make_preview(kind, folder / VIDEO_FILE, folder / kind)
    return StoredFile(folder / kind, media_type=media_type(folder / kind), headers=FILE_HEADERS)


def result_response(service: Service, job: JobRecord, *, download: bool) -> FileResponse:
    """Return a finished job's file.

    Raises:
        ProblemError: 409, it is not finished; 404, the file is gone.
    """
    if job.state != "finished":
        people = f"There is no result to show: the job is {job.state}."
        raise ProblemError(409, expected="a finished job", got=f"one that is {job.state}", people=people)
    path = service.settings.job_folder(job.id) / result_file(job.settings[CONTAINER.name])
    if not is_stored(path):
        raise _file_is_gone("result")
    name = download_name(job)
    return StoredFile(path, media_type=media_type(path), filename=name, is_download=download, headers=FILE_HEADERS)


def _file_is_gone(what: str) -> ProblemError:
    people = f"The {what} is not here any more. It may have been removed."
    advice = "It may be removed"
    return ProblemError(404, expected=f"a job whose {what} is still here", got="none", advice=advice, people=people)


def _event_stream(events: AsyncIterator[str]) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _follow(service: Service, user: str, job_id: str | None, known: int = -1) -> AsyncIterator[str]:
    """Yield an event for every change of a user's jobs, or of one until it has ended; all end with the service.

    A job that moves forward in the queue is a change too, although its record stays the same.
    """
    revision, silent_s = known, 0.0
    places: dict[str, int] = {}
    while not service.is_ending:
        changed = await run_in_threadpool(service.store.changed_since, revision, user, job_id)
        now = await run_in_threadpool(service.store.places_of, user, job_id)
        seen = {job.id for job in changed}
        for moved in [moved for moved, place in now.items() if places.get(moved) != place and moved not in seen]:
            yield await run_in_threadpool(_moved_event, service, moved, max(revision, 0))
        places = now
        for job in changed:
            if job.deleted and revision == -1:
                continue  # it was deleted before this stream began
            yield await run_in_threadpool(_event, service, job)
            if job_id is not None and (job.deleted or job.state in ENDED):
                return
        revision = max([revision, 0, *(job.revision for job in changed)])
        silent_s = 0.0 if changed else silent_s + FOLLOW_EVERY_S
        if silent_s >= KEEP_ALIVE_S:
            silent_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(FOLLOW_EVERY_S)


def _moved_event(service: Service, job_id: str, revision: int) -> str:
    job = service.store.get(job_id)
    return "" if job is None else _event(service, replace(job, revision=revision))


def _event(service: Service, job: JobRecord) -> str:
    if job.deleted:
        return f"event: deleted\nid: {job.revision}\ndata: {json.dumps({'id': job.id})}\n\n"
    return f"event: job\nid: {job.revision}\ndata: {service.view(job).model_dump_json()}\n\n"
