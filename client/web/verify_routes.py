"""The route that says what can be known of a video's origin."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from client.web.asked_process import UserTurns, turn, until_nobody_waits
from client.web.file_routes import BYTES
from client.web.job_settings import VIDEO_FILE
from client.web.labels import CREDENTIALS_PART
from client.web.media_probe import MediaFacts, Span, check_lengths
from client.web.problem_kinds import BUSY
from client.web.problems import ProblemError, problem_responses
from client.web.security import User
from client.web.service import ServiceDep
from client.web.upload import UploadReader
from client.web.verify_process import run_verify, with_suffix
from client.web.verify_views import VerificationView

MAX_RUNNING = 2  # at the same time; others wait
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    VIDEO_FILE: {**BYTES, "minLength": 1, "description": "The video."},
                    CREDENTIALS_PART: {**BYTES, "minLength": 1, "description": "The .c2pa file that lay beside it."},
                },
                "required": [VIDEO_FILE],
                "additionalProperties": False,
            }
        }
    },
}
router = APIRouter(tags=["provenance"])


class Verifier:
    """Lets each user check one file at a time, and a few files be checked at the same time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.users = UserTurns()
        self.places = asyncio.Semaphore(MAX_RUNNING)


@router.post(
    "/verify",
    response_model=VerificationView,
    openapi_extra={"requestBody": BODY},
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
)
async def verify_file(request: Request, user: User, service: ServiceDep) -> VerificationView:
    """Find out where a video comes from: what was changed, when, by which models, and whether its signature is valid.

    The answer also lists what the file does not tell. The video may be as long as `max_plan_s` of GET /limits says.
    Nothing is kept. It ends when the caller leaves.
    """
    verifier: Verifier = request.app.state.verifier
    limits = service.settings
    is_to_end = until_nobody_waits(request, service)
    with verifier.users.asking(user, _busy):
        async with service.place_for_upload(user) as place:
            parts = {name: place.folder / name for name in (VIDEO_FILE, CREDENTIALS_PART)}
            most = limits.max_upload_bytes
            reader = UploadReader(parts, most, service.disk, frozenset(), optional=(CREDENTIALS_PART,))
            names = (await reader.read(request)).names
            (facts,) = await service.checks.probe([parts[VIDEO_FILE]])
            check_lengths(facts, MediaFacts(), Span(0.0, None), min(limits.max_plan_s, limits.max_duration_s))
            video = await run_in_threadpool(with_suffix, parts[VIDEO_FILE], parts[CREDENTIALS_PART])
            async with turn(verifier.places, is_to_end):
                return await run_verify(video, names[VIDEO_FILE], is_to_end)


def _busy() -> ProblemError:
    people = "Another video of yours is being checked. Try again in a moment."
    advice = "Try again in a moment"
    return ProblemError(BUSY, expected="one file at a time", got="another", advice=advice, people=people)
