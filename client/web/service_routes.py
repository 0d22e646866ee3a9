"""The routes beside jobs: models, options, limits, faces of a picture, sessions, health, readiness, metrics."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from client.errors import LipSyncError
from client.media.opening import FORMATS
from client.web.face_preview import not_ready, preview_faces
from client.web.form import option_list, output_formats
from client.web.labels import PICTURE_PART
from client.web.metrics import Metrics
from client.web.problem_kinds import KINDS, NOT_FOUND, NOT_READY, PROBLEMS_PATH, UNUSABLE
from client.web.problems import ProblemError, ProblemKindList, ProblemKindView, problem_responses
from client.web.scripts import MAX_SCRIPT_BYTES, VOICES
from client.web.security import COOKIE, SIGNED_IN, Gatekeeper, User, address_of
from client.web.service import ServiceDep
from client.web.sessions import SESSION_S
from client.web.settings import MB
from client.web.upload import UploadReader
from client.web.views import FaceList, Health, Limits, ModelList, OptionList, SessionView, TokenLogin

MAX_PICTURE_BYTES = 200 * MB  # of a picture, or of a video that the browser cannot show
AT = "at"
MAX_PREVIEWS = 2  # running at the same time
MAX_AT_S = 1e6
PICTURE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    PICTURE_PART: {"type": "string", "format": "binary", "minLength": 1},
                    AT: {"type": "number", "minimum": 0, "maximum": MAX_AT_S, "description": "Second of a video."},
                },
                "required": [PICTURE_PART],
                "additionalProperties": False,
            }
        }
    },
}
ProblemName = Annotated[str, Path(description="Last part of the problem's `type`.", examples=[NOT_FOUND.name])]
router = APIRouter(tags=["service"])
_previews = asyncio.Semaphore(MAX_PREVIEWS)


@router.get("/models", response_model=ModelList, dependencies=SIGNED_IN, responses=problem_responses(401, 503))
def list_models(service: ServiceDep) -> ModelList:
    """List the models that the server can run, and what it lacks for the others."""
    try:
        return service.models.get()
    except LipSyncError as error:
        raise not_ready() from error


@router.get("/options", response_model=OptionList, dependencies=SIGNED_IN, responses=problem_responses(401))
def list_options() -> OptionList:
    """List the options of a job with their labels, defaults and form controls."""
    return option_list()


@router.get("/limits", response_model=Limits, responses=problem_responses(401))
def get_limits(user: User, service: ServiceDep) -> Limits:
    """Return what the service accepts: sizes, lengths, numbers of jobs, formats."""
    settings = service.settings
    return Limits(
        max_upload_bytes=settings.max_upload_bytes,
        max_picture_bytes=MAX_PICTURE_BYTES,
        max_duration_s=settings.max_duration_s,
        max_plan_s=min(settings.max_plan_s, settings.max_duration_s),
        max_script_bytes=MAX_SCRIPT_BYTES,
        max_voices=len(VOICES),
        max_jobs_per_user=settings.max_jobs_per_user,
        max_jobs=settings.max_jobs,
        jobs=service.unfinished(user),
        max_live_per_user=settings.max_live_per_user,
        max_live=settings.max_live,
        keep_hours=settings.keep_s / 3600,
        urls_allowed=settings.allow_urls,
        callbacks_allowed=settings.callback_secret_of(user) is not None,
        input_formats=sorted(FORMATS),
        output_formats=output_formats(),
    )


@router.post(
    "/faces",
    response_model=FaceList,
    openapi_extra={"requestBody": PICTURE_BODY},
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
)
async def find_faces(request: Request, user: User, service: ServiceDep) -> FaceList:
    """Find the faces in a picture, or in one of a video, so that one can be chosen for a job."""
    async with service.place_for_upload(user) as place:
        picture = place.folder / PICTURE_PART
        reader = UploadReader({PICTURE_PART: picture}, MAX_PICTURE_BYTES, service.disk, frozenset({AT}))
        at_s = _second((await reader.read(request)).fields.get(AT, "0"))
        async with _previews:  # only now: an upload that idles is not to keep others waiting
            return await preview_faces(picture, service.models.access, at_s)


def _second(text: str) -> float:
    try:
        second = float(text)
    except ValueError:
        second = -1.0
    if not 0 <= second <= MAX_AT_S:
        raise ProblemError(
            UNUSABLE, name=AT, expected=f"a number of seconds from 0 to {MAX_AT_S:g}", got=repr(text[:20])
        )
    return second


@router.get(PROBLEMS_PATH, response_model=ProblemKindList)
def list_problems() -> ProblemKindList:
    """List the kinds of problems that this API answers with."""
    return ProblemKindList(problems=[ProblemKindView.of(kind) for kind in KINDS.values()])


@router.get(f"{PROBLEMS_PATH}/{{name}}", response_model=ProblemKindView, responses=problem_responses(404))
def get_problem(name: ProblemName) -> ProblemKindView:
    """Describe the kind of problem whose `type` is this path."""
    if name not in KINDS:
        raise ProblemError(NOT_FOUND, expected=f"a path that GET {PROBLEMS_PATH} lists", got="another")
    return ProblemKindView.of(KINDS[name])


@router.get("/session", response_model=SessionView)
def get_session(request: Request) -> SessionView:
    """Return whether a token is needed and whether the caller is signed in; never fails."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    try:
        gatekeeper.user(request)
    except ProblemError:
        return SessionView(token_needed=True, signed_in=False)
    return SessionView(token_needed=gatekeeper.asks_for_token, signed_in=True)


@router.post("/session", status_code=204, responses=problem_responses(400, 401, 403, 408, 413, 422, 429))
def sign_in(request: Request, login: TokenLogin) -> Response:
    """Exchange a token for a cookie; pages need it because players and links cannot send a token."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    response = Response(status_code=204)
    if gatekeeper.asks_for_token:
        response.set_cookie(
            COOKIE,
            gatekeeper.sessions.make(gatekeeper.sign_in(login.token, address_of(request))),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response


@router.delete("/session", status_code=204, responses=problem_responses(403))
def sign_out(request: Request) -> Response:
    """End the session, so that its cookie is worth nothing any more, and delete the cookie."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    gatekeeper.sessions.revoke(request.cookies.get(COOKIE, ""))
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/health", response_model=Health)
def health() -> Health:
    """Liveness probe."""
    return Health()


@router.get("/ready", response_model=Health, responses=problem_responses(503, 507))
def ready(service: ServiceDep) -> Health:
    """Readiness probe: checks the job records, the free disk space and Triton."""
    service.disk.check()
    try:
        service.store.active()
        models = service.models.get().models
    except (LipSyncError, sqlite3.Error) as error:
        raise ProblemError(NOT_READY, expected="a ready lip-sync server and job records", got="none") from error
    if not models:
        raise ProblemError(NOT_READY, expected="a lip-sync server with models", got="one without")
    return Health()


@router.get(
    "/metrics",
    dependencies=SIGNED_IN,
    response_class=PlainTextResponse,
    responses={
        200: {"description": "Prometheus's text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(401),
    },
)
def metrics(request: Request) -> Response:
    """Return metrics for Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)
