"""The API keeps its OpenAPI document: generated requests, good and bad, get answers that the document names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from client.web import page_routes, plan_routes, previews, service_routes, verify_routes
from client.web.app import create_app
from client.web.plan_views import PlanView
from client.web.problem_kinds import UNREADABLE_MEDIA
from client.web.problems import ProblemError
from client.web.verify_views import VerificationView
from client.web.views import FaceList
from client.web.waveform import Waveform
from tests.web_service import make_service

ENDLESS = r"/events$"  # streams that go on; followed by a real client in tests/server
CONFIG = {
    "generation": {"max-examples": 6, "deterministic": True},
    "phases": {"stateful": {"enabled": True, "generation": {"max-examples": 6}}},
    # files that are generated are no media, and choices that are each good need not go together
    "checks": {"positive_data_acceptance": {"enabled": False}},
}


def test_answers_keep_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No generated request gets an undocumented status, header, type or body, or a 500; bad ones are refused."""
    service = make_service(tmp_path, max_jobs_per_user=10**6, max_jobs=10**6, allowed_hosts=())
    monkeypatch.setattr(service_routes, "preview_faces", no_faces)
    monkeypatch.setattr(previews, "make_preview", no_preview)
    monkeypatch.setattr(page_routes, "make_waveform", no_waveform)
    monkeypatch.setattr(plan_routes, "run_plan", no_plan)
    monkeypatch.setattr(verify_routes, "run_verify", no_verification)
    config = SchemathesisConfig.from_dict(CONFIG)
    api = schemathesis.openapi.from_asgi("/openapi.json", create_app(service), config=config).exclude(
        path_regex=ENDLESS
    )
    failures, tried = set(), set()
    for event in engine.from_schema(api).execute():
        assert not isinstance(event, FatalError | NonFatalError), event
        if isinstance(event, ScenarioFinished):
            tried.add(event.label)
            failures |= set(_failures(event))
    assert not failures, "\n".join(sorted(failures))
    described = [f"{method} {path}" for path, methods in api.raw_schema["paths"].items() for method in methods]
    assert len(tried - {None}) == sum(re.search(ENDLESS, name) is None for name in described)


async def no_faces(*_: object) -> FaceList:
    """Replace the process that looks for faces; tests/server has it."""
    return FaceList(width=1, height=1, faces=[], frame="")


async def no_waveform(*_: object) -> Waveform:
    """Replace the process that measures sounds."""
    return Waveform(length_s=0, peaks=[])


async def no_plan(*_: object) -> PlanView:
    """Replace the process that finds out who speaks."""
    return PlanView(timeline=[], script={}, expected_s=None, warnings=[], contact_sheet="")


async def no_verification(*_: object) -> VerificationView:
    """Replace the process that examines videos."""
    return VerificationView(file="", outcome="nothing", verdict="", credentials=None, mark=None, unknown=[])


async def no_preview(*_: object) -> None:
    """Replace the process that makes posters and proxies."""
    raise ProblemError(UNREADABLE_MEDIA, expected="a video that can be decoded", got="another")


def _failures(event: ScenarioFinished) -> list[str]:
    """Say what a scenario's checks found."""
    checked = [check for checks in event.recorder.checks.values() for check in checks]
    failed = [check.failure_info for check in checked if check.failure_info is not None]
    return [f"{info.failure.title}: {info.failure.message}\n  {info.code_sample[:300]!r}" for info in failed]
