"""The routes of a job's files: result, uploads, previews, and links to the result that need no token."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from client.options import CONTAINER
from client.provenance.signing import sidecar_of
from client.web.job_record import JobRecord
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, result_file
from client.web.job_views import EXAMPLE_ID, ResultUrl, ResultUrlRequest, download_name, sidecar_file
from client.web.media_type import HEAD_BYTES, KINDS, UNKNOWN, media_type, media_type_of
from client.web.previews import make_preview_here, make_stored_preview
from client.web.problem_kinds import FILE_GONE, WRONG_STATE
from client.web.problems import ProblemError, file_is_gone, problem_responses
from client.web.remote_file import RemoteFile
from client.web.security import User
from client.web.service import Service, ServiceDep
from client.web.signed_links import RESULT, SIGNATURE_LENGTH
from client.web.stored_file import StoredFile, is_stored
from client.web.video_preview import Kind

FILE_HEADERS = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-cache"}
SHOWN_ANYWHERE = {"Cross-Origin-Resource-Policy": "cross-origin"}  # players of other sites' pages may show it
MAX_EXPIRES = 2**40  # seconds since 1970
BYTES = {"type": "string", "format": "binary"}
JobId = Annotated[str, PathParameter(description="The job's id.", examples=[EXAMPLE_ID])]
Download = Annotated[bool, Query(description="Send it as a download instead of showing it.")]


def _answers(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers with a file of some media types."""
    content = {kind: {"schema": BYTES} for kind in kinds}
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "The part that the Range header asks for.", "content": content},
        304: {"description": "The file that If-None-Match or If-Modified-Since names has not changed."},
    }


MEDIA = _answers(*KINDS)
router = APIRouter(tags=["files"])


@router.get(
    "/jobs/{job_id}/result",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 409, 416, 422)},
)
def get_result(
    job_id: JobId,
    user: User,
    service: ServiceDep,
    download: Download = False,
) -> Response:
    """Return the finished video; the Range header selects a part."""
    return result_response(service, service.job(job_id, user), download=download)


@router.get(
    "/jobs/{job_id}/credentials",
    response_class=FileResponse,
    responses={**_answers(UNKNOWN), **problem_responses(401, 404, 409, 416)},
)
def get_credentials(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Return the signed credentials of a result that cannot hold them itself, such as WebM's."""
    job = service.job(job_id, user)
    _check_finished(job)
    name = sidecar_file(job)
    if name is None:
        people = "This result has no separate credentials: it holds them itself, or is not signed."
        raise ProblemError(FILE_GONE, expected="a result with credentials beside it", got="one without", people=people)
    found = stored_response(service, job, name, filename=sidecar_of(Path(download_name(job))).name, download=True)
    if found is None:
        raise file_is_gone("file with the credentials")
    return found


@router.get(
    "/jobs/{job_id}/video", response_class=FileResponse, responses={**MEDIA, **problem_responses(401, 404, 416)}
)
def get_video(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Return the uploaded video, to show beside the result; the Range header selects a part."""
    return _upload_response(service, service.job(job_id, user), VIDEO_FILE)


@router.get(
    "/jobs/{job_id}/audio", response_class=FileResponse, responses={**MEDIA, **problem_responses(401, 404, 416)}
)
def get_audio(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Return the uploaded speech, to send it again with another video; the Range header selects a part."""
    return _upload_response(service, service.job(job_id, user), AUDIO_FILE)


@router.get(
    "/jobs/{job_id}/script", response_model=dict[str, Any], responses=problem_responses(401, 404), tags=["scenes"]
)
def get_script(job_id: JobId, user: User, service: ServiceDep) -> JSONResponse:
    """Return the script that was sent, to send it again with other files."""
    script = service.script_of(service.job(job_id, user))
    if script is None:
        raise file_is_gone("script")
    return JSONResponse(json.loads(script.text), headers={"Cache-Control": "private, no-cache"})


@router.get(
    "/jobs/{job_id}/preview",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 416, 422, 507)},
)
async def get_preview(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Return a small H.264 without sound of the uploaded video, for browsers that cannot show the video itself."""
    return await _preview_response(service, await run_in_threadpool(service.job, job_id, user), "proxy")


@router.get(
    "/jobs/{job_id}/poster",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(401, 404, 416, 422, 507)},
)
async def get_poster(job_id: JobId, user: User, service: ServiceDep) -> Response:
    """Return the first picture of the uploaded video as a JPEG."""
    return await _preview_response(service, await run_in_threadpool(service.job, job_id, user), "poster")


@router.post(
    "/jobs/{job_id}/result-url",
    response_model=ResultUrl,
    responses=problem_responses(400, 401, 403, 404, 408, 409, 413, 422),
)
def make_result_url(
    job_id: JobId, request: Request, user: User, service: ServiceDep, wanted: ResultUrlRequest | None = None
) -> ResultUrl:
    """Make a link to the finished video that works for a while without a token, until the job is removed."""
    wanted = wanted or ResultUrlRequest()
    job = service.job(job_id, user)
    check_has_result(service, job)
    expires = int(min(time.time() + wanted.expires_in_s, (job.ended_at or 0) + service.settings.keep_s))
    query = {"expires": expires, "signature": service.links.sign(job.id, RESULT, expires)}
    url = request.url_for("get_shared_result", job_id=job.id).include_query_params(**query)
    if wanted.download:
        url = url.include_query_params(download="true")
    return ResultUrl(url=str(url), expires_at=datetime.fromtimestamp(expires, UTC))


@router.get(
    "/shared/{job_id}/result",
    response_class=FileResponse,
    responses={**MEDIA, **problem_responses(403, 404, 409, 416, 422)},
    openapi_extra={"security": []},
)
def get_shared_result(
    job_id: JobId,
    service: ServiceDep,
    expires: Annotated[int, Query(ge=0, le=MAX_EXPIRES, description="Until when, in seconds since 1970.")],
    signature: Annotated[str, Query(max_length=SIGNATURE_LENGTH, description="From POST /jobs/{job_id}/result-url.")],
    download: Download = False,
) -> Response:
    """Return the finished video to whoever has a link to it; the Range header selects a part."""
    service.links.check(job_id, RESULT, expires, signature)
    job = service.store.get(job_id)
    if job is None:
        raise file_is_gone(RESULT)
    found = result_response(service, job, download=download)
    found.headers.update(SHOWN_ANYWHERE)
    return found


def _upload_response(service: Service, job: JobRecord, name: str) -> Response:
    if (found := stored_response(service, job, name)) is None:
        raise file_is_gone(name)
    return found


async def _preview_response(service: Service, job: JobRecord, kind: Kind) -> Response:
    """Return a preview, which is made at the first request and kept beside the job's files."""
    found = await run_in_threadpool(stored_response, service, job, kind)
    if found is None:
        make = make_preview_here if service.media.storage is None else make_stored_preview
        await make(service, job, kind)
        found = await run_in_threadpool(stored_response, service, job, kind)
    if found is None:
        raise file_is_gone(VIDEO_FILE)
    return found


def stored_response(
    service: Service, job: JobRecord, name: str, *, filename: str | None = None, download: bool = False
) -> Response | None:
    """Return a file of a job, from its folder or the storage; None if it is not there."""
    media, folder = service.media, service.media.folder(job.id)
    if media.storage is None:
        path = folder / name
        if not is_stored(path):
            return None
        return StoredFile(
            path, media_type=media_type(path), filename=filename, is_download=download, headers=FILE_HEADERS
        )
    facts = media.facts(job.id, name)
    if facts is None:
        return None
    key = f"{job.id}/{name}"
    kind = media_type_of(media.storage.read(key, 0, min(facts.nbytes, HEAD_BYTES)))
    return RemoteFile(
        media.storage, key, facts, media_type=kind, filename=filename, is_download=download, headers=FILE_HEADERS
    )


def check_has_result(service: Service, job: JobRecord) -> None:
    """Check that a job is finished and its file is there.

    Raises:
        ProblemError: 409, it is not finished; 404, the file is gone.
    """
    _check_finished(job)
    if not service.media.has(job.id, result_file(job.settings[CONTAINER.name])):
        raise file_is_gone(RESULT)


def _check_finished(job: JobRecord) -> None:
    if job.state != "finished":
        people = f"There is no result to show: the job is {job.state}."
        raise ProblemError(WRONG_STATE, expected="a finished job", got=f"one that is {job.state}", people=people)


def result_response(service: Service, job: JobRecord, *, download: bool) -> Response:
    """Return a finished job's file.

    Raises:
        ProblemError: 409, it is not finished; 404, the file is gone.
    """
    _check_finished(job)
    name = result_file(job.settings[CONTAINER.name])
    found = stored_response(service, job, name, filename=download_name(job), download=download)
    if found is None:
        raise file_is_gone(RESULT)
    return found
