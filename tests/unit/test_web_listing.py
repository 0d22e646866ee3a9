"""Lists of jobs by cursor and state, and what the service says of its models and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.offer import models_of_pipelines
from client.web import triton
from client.web.service import Service
from client.web.triton import LoadedModels
from tests.web_service import NO_TRITON, add_job, files, open_client, problem


def test_cursor_goes_through_all_jobs_once(tmp_path: Path) -> None:
    """Pages follow each other without gap or repetition while jobs come and go."""
    with open_client(tmp_path, max_jobs_per_user=50) as client:
        sent = [client.post("/jobs", files=files()).json()["id"] for _ in range(7)]
        first = client.get("/jobs", params={"limit": 3}).json()
        client.post("/jobs", files=files())
        client.delete(f"/jobs/{sent[-1]}")
        second = client.get("/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
        client.delete(f"/jobs/{second['jobs'][-1]['id']}")
        third = client.get("/jobs", params={"limit": 3, "cursor": second["next_cursor"]}).json()
    listed = [job["id"] for page in (first, second, third) for job in page["jobs"]]
    assert listed == sent[::-1]
    assert third["next_cursor"] is None


def test_states_select_jobs(tmp_path: Path) -> None:
    """Only jobs in the named states are listed and counted; pages and offsets count those alone."""
    with open_client(tmp_path, max_jobs_per_user=50) as client:
        sent = [client.post("/jobs", files=files()).json()["id"] for _ in range(4)]
        for job_id in sent[::2]:
            client.post(f"/jobs/{job_id}/cancel")
        cancelled = client.get("/jobs", params={"state": "cancelled", "limit": 1}).json()
        assert (cancelled["total"], [job["id"] for job in cancelled["jobs"]]) == (2, [sent[2]])
        rest = client.get("/jobs", params={"state": "cancelled", "cursor": cancelled["next_cursor"]}).json()
        assert [job["id"] for job in rest["jobs"]] == [sent[0]]
        assert client.get("/jobs", params={"state": ["cancelled", "queued"]}).json()["total"] == 4
        skipped = client.get("/jobs", params={"state": "queued", "offset": 1}).json()["jobs"]
        assert [job["id"] for job in skipped] == [sent[1]]


@pytest.mark.parametrize("query", [{"cursor": "none"}, {"cursor": "f" * 16}, {"state": "asleep"}, {"cursor": ""}])
def test_bad_query_fails(tmp_path: Path, query: dict[str, str]) -> None:
    """What no list gave, and states that there are not, are refused by the parameter's name."""
    with open_client(tmp_path) as client:
        assert problem(client.get("/jobs", params=query), 422)["errors"][0]["name"] in query


def test_missing_models_are_listed_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pipeline is listed once, those that cannot be used with what they lack and what to do."""
    monkeypatch.setattr(triton, "models_on_server", lambda access, others: models_of_pipelines() - {"wav2lip"})
    with open_client(tmp_path, models=LoadedModels(NO_TRITON)) as client:
        listed = client.get("/models").json()
    assert {model["id"] for model in listed["models"]} == {"mouth-motion", "musetalk", "latentsync"}
    (missing,) = listed["missing"]
    assert (missing["id"], missing["title"], missing["missing"]) == ("wav2lip", "Wav2Lip", ["wav2lip"])
    assert missing["advice"].startswith("wav2lip: the server has no wav2lip; whoever runs this service can add it")


def test_limits_say_what_is_accepted(tmp_path: Path) -> None:
    """Sizes, lengths, jobs and formats can be known before anything is sent."""
    with open_client(tmp_path, max_jobs=7, max_duration_s=60.0) as client:
        client.post("/jobs", files=files())
        limits = client.get("/limits").json()
    assert (limits["max_jobs"], limits["max_duration_s"], limits["jobs"]) == (7, 60.0, 1)
    assert (limits["urls_allowed"], limits["callbacks_allowed"]) == (False, False)
    assert limits["max_picture_bytes"] > 0
    assert {"mov", "matroska", "wav", "jpeg"} <= set(limits["input_formats"])
    codecs = {known["container"]: known["codecs"] for known in limits["output_formats"]}
    assert "h264" in codecs["mp4"]
    assert "h264" not in codecs["webm"]


def test_lost_server_costs_no_attempt_of_a_job_that_advances(tmp_path: Path) -> None:
    """An attempt that came further than any before is not counted; one that did not is."""
    with open_client(tmp_path) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        store, job_id = service.store, add_job(service)
        for frames, counts in ((50, False), (50, True), (80, False), (20, True)):
            before = store.get(job_id)
            assert before is not None
            assert store.claim(job_id) is not None
            store.begin_stage(job_id, "lip-syncing", 100)
            store.note_frames(job_id, frames)
            has_advanced = store.advance(job_id)
            assert has_advanced is not counts
            store.requeue(job_id, counted=not has_advanced)
            after = store.get(job_id)
            assert after is not None
            assert after.attempts - before.attempts == int(counts)
