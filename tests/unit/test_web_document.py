"""The OpenAPI document: stable names, typed settings, reports, events and callbacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from client.report import Report, SpeakerReport, UnchangedFrames
from client.web.app import create_app
from client.web.event_routes import EVENT_SCHEMAS
from client.web.job_settings import SETTING_NAMES
from client.web.problem_kinds import RETRY_AFTER_S
from client.web.report_view import ReportView, SpeakerView, UnchangedView
from lipsync_core.reasons import Reason
from tests.web_service import make_service

OPERATIONS = {
    "create_job", "list_jobs", "get_job", "cancel_job", "retry_job", "delete_job", "follow_job", "follow_jobs",
    "get_result", "get_credentials", "get_video", "get_audio", "get_script", "get_preview", "get_poster",
    "make_result_url", "get_shared_result", "get_progressive",
    "list_models", "list_options", "get_limits", "find_faces", "list_problems", "get_problem", "get_session", "sign_in",
    "sign_out", "health", "ready", "metrics", "submit", "status", "result", "list_pipelines", "get_queue",
    "get_waveform", "get_example", "get_example_file",
    "make_plan", "get_scene_schema", "verify_file", "list_clips",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a service."""
    return create_app(make_service(tmp_path_factory.mktemp("data"))).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def test_operations_have_stable_names(document: dict[str, Any]) -> None:
    """Clients are generated with these names: adding one is fine, changing one breaks programs."""
    names = [operation["operationId"] for operation in operations(document)]
    assert sorted(names) == sorted(OPERATIONS)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """No schema refers to one that the document lacks."""
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_settings_are_typed_in_both_directions(document: dict[str, Any]) -> None:
    """What is sent and what comes back have each option with its type, limits and description."""
    schemas = document["components"]["schemas"]
    assert set(schemas["JobSettings"]["properties"]) == SETTING_NAMES
    assert schemas["JobView"]["properties"]["settings"]["$ref"].endswith("/JobSettings")
    bodies = document["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert bodies["multipart/form-data"]["schema"]["$ref"].endswith("/FilesJob")
    for name in ("FilesJob", "UrlJob"):
        assert set(schemas[name]["properties"]) > SETTING_NAMES | {"callback_url"}
    assert (schemas["JobSettings"]["properties"]["crf"]["maximum"]) == 51


@pytest.mark.parametrize(
    ("view", "model", "hidden"),
    [(ReportView, Report, {"output"}), (SpeakerView, SpeakerReport, set()), (UnchangedView, UnchangedFrames, set())],
)
def test_report_has_the_fields_of_the_clients(view: Any, model: Any, hidden: set[str]) -> None:
    """The API's report follows the client's, but for the path of the file; every field is described."""
    fields = [field.name for field in dataclasses.fields(model) if field.name not in hidden]
    assert list(view.model_fields) == fields
    assert all(field.description for field in view.model_fields.values())


def test_report_comes_through_whole() -> None:
    """Whatever a job reports, the API returns."""
    report = Report("out.mp4", "id", "wav2lip", "shm", 640, 480, 25.0, sound=["speech.wav"])
    report.speakers.append(SpeakerReport("Ann"))
    for number, reason in enumerate([Reason.CHANGED, next(r for r in Reason if r is not Reason.CHANGED)]):
        for counted in (report, report.speakers[0]):
            counted.count_frame(number / 25, (number + 1) / 25, reason)
    fields: dict[str, Any] = {**report.as_dict(), "spans_without_face": [(0.04, 0.08)]}
    del fields["output"]
    told = ReportView.model_validate(fields).model_dump()
    for unchanged in (told["unchanged"], told["speakers"][0]["unchanged"]):
        for part in unchanged.values():
            part["spans"] = [list(span) for span in part["spans"]]
    assert told == fields


def test_events_and_callbacks_have_schemas(document: dict[str, Any]) -> None:
    """A stream's items and a callback's body are jobs, as GET /jobs/{job_id} returns them."""
    schemas = document["components"]["schemas"]
    for path in ("/events", "/jobs/{job_id}/events"):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]
        assert [item["$ref"].rpartition("/")[2] for item in content["itemSchema"]["oneOf"]] == list(EVENT_SCHEMAS)
    assert schemas["JobEvent"]["properties"]["data"]["contentSchema"] == {"$ref": "#/components/schemas/JobView"}
    (callback,) = document["paths"]["/jobs"]["post"]["callbacks"]["ended"].values()
    body = callback["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/JobView"}


def test_waiting_times_are_described(document: dict[str, Any]) -> None:
    """Every answer that is worth repeating says after how long, in the document too."""
    answers = [answer for operation in operations(document) for answer in operation["responses"].items()]
    described = [answer for status, answer in answers if int(status) in RETRY_AFTER_S]
    assert described
    assert all("Retry-After" in answer["headers"] for answer in described)
