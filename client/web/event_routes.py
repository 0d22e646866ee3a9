"""The routes that tell of changes as they happen, by server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from client.web.file_routes import JobId
from client.web.job_record import ENDED, JobRecord
from client.web.job_views import EXAMPLE_ID
from client.web.problems import problem_responses
from client.web.security import User
from client.web.service import Service, ServiceDep

FOLLOW_EVERY_S = 0.4
KEEP_ALIVE_S = 15.0
MAX_REVISION = 2**53  # exact in every language


def _event_schema(name: str, data: dict[str, Any], says: str) -> dict[str, Any]:
    """Describe one kind of event as OpenAPI 3.2 has it."""
    content = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    revision = {"type": "string", "pattern": r"^\d+$", "description": "The revision, for Last-Event-ID."}
    properties = {"event": {"const": name}, "id": revision, "data": content}
    return {"type": "object", "description": says, "properties": properties, "required": [*properties]}


EVENT_SCHEMAS = {
    "JobEvent": _event_schema("job", {"$ref": "#/components/schemas/JobView"}, "A job has changed, or is new."),
    "DeletedEvent": _event_schema(
        "deleted",
        {"type": "object", "properties": {"id": {"type": "string", "example": EXAMPLE_ID}}, "required": ["id"]},
        "A job was removed.",
    ),
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`event: job` with a job as JSON at every change, `event: deleted` with its id.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "itemSchema": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in EVENT_SCHEMAS]},
                "example": "event: job\nid: 7\ndata: {}\n\n",
            }
        },
    }
}
LastEventId = Annotated[
    int | None, Header(ge=-1, le=MAX_REVISION, description="Last event before the connection was lost.")
]
router = APIRouter(tags=["events"])


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
