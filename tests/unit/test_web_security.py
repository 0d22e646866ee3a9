"""What other sites, pages and errors may learn from the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from client.web.service import Service
from tests.web_service import (
    files,
    open_client,
    problem,
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service that accepts jobs and runs none."""
    with open_client(tmp_path) as opened:
        yield opened


def test_other_sites_and_names_are_refused(client: TestClient) -> None:
    """A form of another site, and a name that was rebound to this machine, get nothing."""
    said = problem(client.post("/jobs", files=files(), headers={"Origin": "https://evil.example"}), 403)
    assert "another site" in said["detail"]
    problem(client.post("/jobs", files=files(), headers={"Origin": "http://["}), 403)
    assert client.post("/jobs", files=files(), headers={"Origin": "http://testserver"}).status_code == 202
    problem(client.get("/jobs", headers={"Host": "evil.example"}), 421)
    assert "access-control-allow-origin" not in client.get("/jobs", headers={"Origin": "https://evil.example"}).headers


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    """Pages, answers and errors alike forbid frames, sniffing, and scripts from elsewhere."""
    for path in ("/", "/page/app.js", "/jobs", "/nothing", "/openapi.json"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_uploaded_page_is_not_shown_as_one(client: TestClient) -> None:
    """An HTML file sent as a video comes back as bytes, in a sandbox."""
    job = client.post("/jobs", files=files(b"<script>alert(1)</script>", name="evil.html")).json()
    headers = client.get(f"/jobs/{job['id']}/video").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-security-policy"].startswith("sandbox")


def test_errors_reveal_nothing_of_the_machine(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect answers 500 as a problem, without a path, a name of a module or a trace."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]

    def broken(*_: object) -> None:
        raise RuntimeError(f"cannot read {service.settings.data}/jobs.sqlite3")

    monkeypatch.setattr(service.store, "jobs_of", broken)
    answer = client.get("/jobs")
    problem(answer, 500)
    for telling in (str(service.settings.data), "RuntimeError", "Traceback", ".py"):
        assert telling not in answer.text
    for path in ("/nothing", "/jobs/../../etc/passwd", "/page/../app.py", "/page/%2e%2e/app.py", "/page/nothing"):
        assert problem(client.get(path), 404)
    problem(client.put("/jobs"), 405)
