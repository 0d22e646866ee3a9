"""The predecessor's contract, without a Triton: its routes one by one, and a page that was written for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from starlette.testclient import TestClient

from client.web.service import Service
from tests.server.clips import head_frame, write_video
from tests.waiting import wait_until
from tests.web_service import files, listening, make_service, open_client, problem

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NULL = {"Origin": "null"}
PAGE = """<!doctype html><meta charset="utf-8"><title>Lip sync</title>
<input type="file" id="video"><input type="file" id="audio">
<select id="mode"><option>latentSync</option><option>wav2lip</option></select>
<button id="go">Go</button><p id="state"></p><p id="early"></p><video id="result"></video>
<script>
const BASE = "http://127.0.0.1:9";
const at = (id) => document.getElementById(id);
at("go").onclick = async () => {
  const form = new FormData();
  form.append("video", at("video").files[0]);
  form.append("audio", at("audio").files[0]);
  form.append("mode", at("mode").value);
  const { jobId } = await (await fetch(`${BASE}/submit`, { method: "POST", body: form })).json();
  at("early").textContent = (await (await fetch(`${BASE}/result/${jobId}`)).json()).Error;
  for (;;) {
    const { status } = await (await fetch(`${BASE}/status/${jobId}`)).json();
    at("state").textContent = status;
    if (!["pending", "running"].includes(status)) break;
    await new Promise((later) => setTimeout(later, 50));
  }
  if (at("state").textContent === "completed") at("result").src = `${BASE}/result/${jobId}`;
};
</script>
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service that pages opened from files may call."""
    with open_client(tmp_path, cors_origins=("null",)) as opened:
        yield opened


def service_of(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def finish(service: Service, job_id: str, result: bytes) -> None:
    service.settings.job_folder(job_id).joinpath("result.mp4").write_bytes(result)
    service.store.finish(job_id, {"frames": 3, "seconds": 1.0, "warnings": []})


def test_job_goes_through_the_predecessors_states(client: TestClient) -> None:
    """Every answer has 200 and the predecessor's names, from pending to the file."""
    sent = client.post("/submit", files=files(), data={"mode": "wav2lip"})
    (job_id,) = sent.json().values()
    assert (sent.status_code, sent.json()) == (200, {"jobId": job_id})
    service = service_of(client)

    def status() -> str:
        answer = client.get(f"/status/{job_id}")
        assert answer.status_code == 200
        assert answer.json() == {"jobId": job_id, "status": answer.json()["status"]}
        return str(answer.json()["status"])

    early = client.get(f"/result/{job_id}")
    assert (status(), early.status_code, early.json()) == ("pending", 200, {"Error": "Result not ready"})
    assert service.store.claim(job_id)
    assert status() == "running"
    finish(service, job_id, b"the result")
    assert (status(), client.get(f"/result/{job_id}").content) == ("completed", b"the result")
    service.delete(service.job(job_id, "testclient"))
    assert status() == "not_found"


@pytest.mark.parametrize(
    ("mode", "model"), [("latentSync", "latentsync"), ("wav2lip", "wav2lip"), (None, "latentsync")]
)
def test_mode_chooses_the_model(client: TestClient, mode: str | None, model: str) -> None:
    """A mode is one of the pipelines, by the predecessor's name."""
    job = client.post("/submit", files=files(), data={} if mode is None else {"mode": mode}).json()
    assert client.get(f"/jobs/{job['jobId']}").json()["settings"]["model"] == model


def test_cancelled_job_is_failed(client: TestClient) -> None:
    """The predecessor knows no cancelled jobs."""
    job_id = client.post("/submit", files=files()).json()["jobId"]
    client.post(f"/jobs/{job_id}/cancel")
    assert client.get(f"/status/{job_id}").json()["status"] == "failed"
    assert client.get(f"/result/{job_id}").json() == {"Error": "Result not ready"}


def test_unknown_mode_and_options_fail(client: TestClient) -> None:
    """Nothing but the predecessor's three fields is taken."""
    assert "mode" in problem(client.post("/submit", files=files(), data={"mode": "other"}), 422)["detail"]
    problem(client.post("/submit", files=files(), data={"crf": "20"}), 422)


def test_page_from_a_file_may_call_these_routes_only(client: TestClient) -> None:
    """With `null` allowed, the origin of such pages is good for the predecessor's routes and for nothing else."""
    sent = client.post("/submit", files=files(), headers=NULL)
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, "null")
    status = client.get(f"/status/{sent.json()['jobId']}", headers=NULL)
    assert status.headers["access-control-allow-origin"] == "null"
    problem(client.post("/jobs", files=files(), headers=NULL), 403)
    assert "access-control-allow-origin" not in client.get("/jobs", headers=NULL).headers


def test_page_from_a_file_is_refused_by_default(tmp_path: Path) -> None:
    """Without `--cors-origin null` no page from a file gets anything."""
    with open_client(tmp_path) as client:
        problem(client.post("/submit", files=files(), headers=NULL), 403)
        assert "access-control-allow-origin" not in client.get("/status/x", headers=NULL).headers


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian: apt-get install chromium")
def test_page_of_the_predecessor_works(tmp_path: Path) -> None:
    """A page opened from a file, only its base address edited, sends a job, waits for it and plays the result."""
    video = write_video(tmp_path / "result.mp4", [head_frame()] * 5)
    service = make_service(tmp_path / "data", cors_origins=("null",))
    with listening(service) as address, sync_playwright() as playwright:
        page_file = tmp_path / "old.html"
        page_file.write_text(PAGE.replace("http://127.0.0.1:9", address))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_file.as_uri())
        for name in ("video", "audio"):
            page.locator(f"#{name}").set_input_files(video)
        page.locator("#go").click()
        expect(page.locator("#state")).to_have_text("pending", timeout=20_000)
        expect(page.locator("#early")).to_have_text("Result not ready")
        (job,) = service.store.in_state("queued")
        assert service.store.claim(job.id)
        expect(page.locator("#state")).to_have_text("running")
        finish(service, job.id, video.read_bytes())
        expect(page.locator("#state")).to_have_text("completed")
        wait_until(lambda: page.locator("#result").evaluate("video => video.readyState >= 1"))
        browser.close()
