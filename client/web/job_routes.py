"""The routes of jobs: send, list, look at, cancel, try again, remove."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from client.storage.names import shown_name
from client.web.callback_names import ID, SIGNATURE, TIMESTAMP
from client.web.fetching import FILES
from client.web.file_routes import JobId
from client.web.idempotency import REPEATED_HEADER, IdempotencyKey, fingerprint
from client.web.job_bodies import UrlJob, check_urls, files_schema, read_files_body, scene_components, urls_schema
from client.web.job_record import JobOrder, State
from client.web.job_settings import SETTING_NAMES, JobSettings
from client.web.job_views import JobList, JobView
from client.web.labels import AUDIO_URL, VIDEO_URL
from client.web.problems import problem_responses, validation_problem
from client.web.scripts import read_script
from client.web.security import User
from client.web.service import Accepted, Service, ServiceDep, urls_are_off

MAX_LISTED = 200
router = APIRouter(tags=["jobs"])
BODY_SCHEMAS = {
    "FilesJob": files_schema(has_callback=True),
    "FilesPlan": files_schema(has_callback=False),
    "UrlJob": urls_schema(),
    **scene_components(),
    "JobSettings": JobSettings.model_json_schema(),
}
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {"$ref": "#/components/schemas/FilesJob"}},
        "application/json": {
            "schema": {"$ref": "#/components/schemas/UrlJob"},
            "example": {VIDEO_URL: "https://example.org/speaker.mp4", AUDIO_URL: "https://example.org/speech.wav"},
        },
    },
}
CALLBACK: dict[str, Any] = {
    "ended": {
        "{$request.body#/callback_url}": {
            "post": {
                "summary": "A job has ended",
                "description": "Sent until it is answered with 2xx, for about seven hours, with the same `webhook-id`.",
                "parameters": [
                    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": text}
                    for name, text in (
                        (ID, "The same for all attempts."),
                        (TIMESTAMP, "When the attempt was made, in seconds since 1970."),
                        (SIGNATURE, "`v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`."),
                    )
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobView"}}},
                    "required": True,
                },
                "responses": {"2XX": {"description": "The message was taken."}},
            }
        }
    }
}
ACCEPTED_HEADERS = {
    "Location": {"description": "Path of the job.", "schema": {"type": "string"}},
    REPEATED_HEADER: {"description": "`true` if an earlier request made the job.", "schema": {"type": "string"}},
}


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    openapi_extra={"requestBody": BODY, "callbacks": CALLBACK},
    responses={
        202: {"headers": ACCEPTED_HEADERS},
        **problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 507),
    },
)
async def create_job(
    request: Request, response: Response, user: User, service: ServiceDep, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Queue a job for a video and recorded speech, or for several voices and a script of who speaks when.

    Send the files as multipart/form-data or, if the service allows it, their public web addresses as JSON; those are
    fetched while the job is queued.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    take = _create_url_job if kind == "application/json" else _create_files_job
    accepted = await take(request, user, service, idempotency_key)
    response.headers["Location"] = accepted.view.links.self
    if accepted.is_repeated:
        response.headers[REPEATED_HEADER] = "true"
    return accepted.view


async def _create_files_job(request: Request, user: str, service: Service, key: str | None) -> Accepted:
    """Queue a job of a multipart body.

    Raises:
        ProblemError: the body cannot be used, or there is no room for it.
    """
    async with service.place_for_upload(user, key) as place:
        body = await read_files_body(request, place.folder, service, has_digests=key is not None)
        order = JobOrder(key, None if key is None else fingerprint(body.content), body.callback_url)
        return await service.accept(place, body.settings, body.names, order, body.script)


async def _create_url_job(request: Request, user: str, service: Service, key: str | None) -> Accepted:
    """Queue a job whose files are fetched later.

    Raises:
        ProblemError: the body cannot be used, or there is no room for the job.
    """
    if not service.settings.allow_urls:
        raise urls_are_off()
    try:
        job = UrlJob.model_validate_json(await request.body())
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
    script = None if job.script is None else read_script(json.dumps(job.script))
    check_urls(job, script)
    sources = job.sources()
    names = {
        FILES[field]: shown_name(service.guard.parse(field, url)[0].path) or field for field, url in sources.items()
    }
    digest = None if key is None else fingerprint(job.model_dump(mode="json", exclude_unset=True))
    async with service.place_for_upload(user, key) as place:
        settings = JobSettings(**job.model_dump(include=set(SETTING_NAMES)))
        order = JobOrder(key, digest, job.callback_url, sources)
        return await service.accept(place, settings, names, order, script)


@router.get("/jobs", response_model=JobList, responses=problem_responses(401, 422))
def list_jobs(
    user: User,
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Maximum number of jobs.")] = 50,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9a-f]{1,15}$", description="`next_cursor` of the jobs before these.")
    ] = None,
    state: Annotated[list[State] | None, Query(description="Only jobs in these states.")] = None,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Number of jobs to skip.")] = 0,
) -> JobList:
    """List your jobs, the newest first. Jobs that come or go between two requests change no page after a cursor."""
    revision = service.store.revision()  # read before the list: a change in between is sent twice, never lost
    states, before = state or [], None if cursor is None else int(cursor, 16)
    jobs = service.store.jobs_of(user, limit + 1, offset, states=states, before=before)
    return JobList(
        jobs=[service.view(job) for job in jobs[:limit]],
        total=service.store.count_of(user, states),
        next_cursor=f"{jobs[limit - 1].number:x}" if len(jobs) > limit else None,
        revision=revision,
    )


@router.get("/jobs/{job_id}", response_model=JobView, responses=problem_responses(401, 404))
def get_job(job_id: JobId, user: User, service: ServiceDep) -> JobView:
    """Return one job: state, stage, progress, speed, remaining time, warnings and report."""
    return service.view(service.job(job_id, user))


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
