"""The predecessor service's contract: /submit, /status/{id}, /result/{id}."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from client.web.job_routes import MEDIA, JobId, create_files_job, multipart_body, result_response
from client.web.problems import problem_responses
from client.web.security import User
from client.web.service import ServiceDep
from client.web.store import State

Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
STATUS: dict[State, Status] = {
    "queued": "queued",
    "running": "processing",
    "cancelling": "processing",
    "finished": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
router = APIRouter(tags=["predecessor"])


class Submitted(BaseModel):
    """A job that was accepted."""

    job_id: str
    status: Status


class JobStatus(Submitted):
    """Progress of a job."""

    progress: float = Field(ge=0, le=100, description="Percentage of the frames that are done.")
    error: str | None


MULTIPART: dict[str, Any] = {"requestBody": multipart_body()}


@router.post(
    "/submit",
    response_model=Submitted,
    openapi_extra=MULTIPART,
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 507),
)
async def submit(request: Request, user: User, service: ServiceDep) -> Submitted:
    """Queue a job for a video and recorded speech, as POST /jobs does."""
    view = await create_files_job(request, user, service)
    return Submitted(job_id=view.id, status=STATUS[view.state])


@router.get("/status/{job_id}", response_model=JobStatus, responses=problem_responses(401, 404))
def status(job_id: JobId, user: User, service: ServiceDep) -> JobStatus:
    """Return the progress of a job."""
    view = service.view(service.job(job_id, user))
    error = None if view.error is None else view.error.detail
    return JobStatus(job_id=view.id, status=STATUS[view.state], progress=view.percent, error=error)


@router.get(
    "/result/{job_id}", response_class=FileResponse, responses={**MEDIA, **problem_responses(401, 404, 409, 416)}
)
def result(job_id: JobId, user: User, service: ServiceDep) -> FileResponse:
    """Download the finished video."""
    return result_response(service, service.job(job_id, user), download=True)
