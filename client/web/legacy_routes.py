"""The predecessor service's contract, field by field: POST /submit, GET /status/{jobId}, GET /result/{jobId}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from client.options import MODEL
from client.pipelines.latentsync import LATENTSYNC
from client.pipelines.wav2lip import WAV2LIP
from client.web.file_routes import BYTES, MEDIA, SHOWN_ANYWHERE, result_response
from client.web.job_record import State
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, JobSettings
from client.web.job_views import EXAMPLE_ID
from client.web.problem_kinds import UNUSABLE
from client.web.problems import ProblemError, problem_responses
from client.web.security import User
from client.web.service import ServiceDep
from client.web.settings import LEGACY_PATHS, NULL_ORIGIN
from client.web.upload import UploadReader

Status = Literal["pending", "running", "completed", "failed", "not_found"]
MODE = "mode"
MODES = {"latentSync": LATENTSYNC.name, WAV2LIP.name: WAV2LIP.name}  # the predecessor's names -> pipelines
STATUS: dict[State, Status] = {
    "queued": "pending",
    "running": "running",
    "cancelling": "running",
    "finished": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
FILE_PARTS = (VIDEO_FILE, AUDIO_FILE)
router = APIRouter(tags=["predecessor"])
AnyJobId = Annotated[str, Path(alias="jobId", description="The job's id.", examples=[EXAMPLE_ID])]


class Submitted(BaseModel):
    """A job that was accepted."""

    jobId: str  # noqa: N815  # the predecessor's name


class JobStatus(Submitted):
    """The state of a job."""

    status: Status = Field(description="Cancelled jobs are failed; unknown and removed ones are not_found.")


class NotReady(BaseModel):
    """There is no result yet, or there never will be one: see the job's status."""

    Error: Literal["Result not ready"] = "Result not ready"


BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {**BYTES, "minLength": 1} for name in FILE_PARTS},
        MODE: {"type": "string", "enum": list(MODES), "default": next(iter(MODES))},
    },
    "required": list(FILE_PARTS),
    "additionalProperties": False,
}
RESULT: dict[int | str, dict[str, Any]] = {
    **MEDIA,
    200: {
        "description": "The file, or that it is not ready.",
        "content": {**MEDIA[200]["content"], "application/json": {"schema": NotReady.model_json_schema()}},
    },
}


@router.post(
    "/submit",
    response_model=Submitted,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": BODY}}}},
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 507),
)
async def submit(request: Request, user: User, service: ServiceDep) -> Submitted:
    """Queue a job for a video and recorded speech; its other options have their defaults."""
    async with service.place_for_upload(user) as place:
        files = {name: place.folder / name for name in FILE_PARTS}
        upload = await UploadReader(files, service.settings.max_upload_bytes, service.disk, frozenset({MODE})).read(
            request
        )
        settings = JobSettings(**{MODEL.name: _model(upload.fields.get(MODE, next(iter(MODES))))})
        accepted = await service.accept(place, settings, upload.names)
    return Submitted(jobId=accepted.view.id)


@router.get("/status/{jobId}", response_model=JobStatus, responses=problem_responses(401))
def status(job_id: AnyJobId, user: User, service: ServiceDep) -> JobStatus:
    """Return the state of a job; unknown jobs have one too."""
    job = service.find(job_id, user)
    return JobStatus(jobId=job_id, status="not_found" if job is None else STATUS[job.state])


@router.get("/result/{jobId}", response_class=FileResponse, responses={**RESULT, **problem_responses(401, 404, 416)})
def result(job_id: AnyJobId, user: User, service: ServiceDep) -> Response:
    """Download the finished video."""
    job = service.find(job_id, user)
    if job is None or job.state != "finished":
        return JSONResponse(NotReady().model_dump())
    found = result_response(service, job, download=True)
    if NULL_ORIGIN in service.settings.cors_origins:
        found.headers.update(SHOWN_ANYWHERE)
    return found


def _model(mode: str) -> str:
    """Return the pipeline of a mode.

    Raises:
        ProblemError: 422, there is no such mode.
    """
    if mode not in MODES:
        raise ProblemError(UNUSABLE, name=MODE, expected=f"one of {', '.join(MODES)}", got="another")
    return MODES[mode]


class LegacyCors:
    """Lets pages that were opened from files call the predecessor's routes, and no others."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Wrap an app; sites with these origins may call the predecessor's routes too."""
        self._app = app
        self._cors = CORSMiddleware(app, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_open = scope["type"] == "http" and scope["path"].startswith(LEGACY_PATHS)
        await (self._cors if is_open else self._app)(scope, receive, send)
