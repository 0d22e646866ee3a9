"""The routes of scenes: what a job would do, and the schema of scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from client.scene.schema import scene_schema
from client.web.asked_process import UserTurns, until_nobody_waits
from client.web.job_bodies import read_files_body
from client.web.plan_process import run_plan
from client.web.plan_views import PlanView
from client.web.problem_kinds import BUSY
from client.web.problems import ProblemError, problem_responses
from client.web.scripts import store_script
from client.web.security import User
from client.web.service import ServiceDep

BODY: dict[str, Any] = {
    "required": True,
    "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/FilesPlan"}}},
}
router = APIRouter(tags=["scenes"])


class Planner:
    """Lets one plan be made at a time, and each user ask for one at a time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.users = UserTurns()
        self._is_planning = False

    def check(self) -> None:
        """Check that no plan is being made.

        Raises:
            ProblemError: 503, one is.
        """
        if self._is_planning:
            raise _busy()

    @asynccontextmanager
    async def planning(self) -> AsyncIterator[None]:
        """Note that a plan is being made.

        Raises:
            ProblemError: 503, another one is.
        """
        self.check()
        self._is_planning = True
        try:
            yield
        finally:
            self._is_planning = False


@router.post(
    "/plan",
    response_model=PlanView,
    openapi_extra={"requestBody": BODY},
    responses=problem_responses(400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
)
async def make_plan(request: Request, user: User, service: ServiceDep) -> PlanView:
    """Find out who speaks when, without making a job: a timeline, a script to edit, and a picture of the faces.

    Takes what POST /jobs takes as multipart/form-data. Nothing is kept. It ends when the caller leaves.
    """
    planner: Planner = request.app.state.planner
    planner.check()
    with planner.users.asking(user, _busy):
        async with service.place_for_upload(user) as place:
            body = await read_files_body(request, place.folder, service, has_callback=False)
            await run_in_threadpool(service.checks.check_models, body.settings, body.script)
            choices, limits = body.settings.choices(), service.settings
            max_s = min(limits.max_plan_s, limits.max_duration_s)
            await service.checks.measure(place.folder, choices, body.script, max_s)
            if body.script is not None:
                await run_in_threadpool(store_script, body.script, place.folder, service.disk)
            async with planner.planning():
                is_to_end = until_nobody_waits(request, service)
                return await run_plan(place.folder, choices, service.models.access, is_to_end)


@router.get("/scene.schema.json", response_model=dict[str, Any])
def get_scene_schema() -> dict[str, Any]:
    """Return the JSON schema of scripts, for editors and programs."""
    return scene_schema()


def _busy() -> ProblemError:
    people = "Somebody else is finding out who speaks. Try again in a moment."
    return ProblemError(
        BUSY, expected="no other plan at the time", got="one", advice="Try again in a moment", people=people
    )
