"""Credentials beside a result, of formats that cannot hold them: a file of the job that the service sends."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from client.web.service import Service
from tests.web_service import OTHER_TOKEN, TOKEN, TOKENS, bearer, files, open_client, problem


def test_credentials_beside_a_result_are_served(tmp_path: Path) -> None:
    """Of a WebM, which cannot hold them, to its owner alone; where there are none, in one line."""
    beside = {"is_marked": False, "signed_by": "Test Studio", "sidecar": "result.webm.c2pa"}
    with open_client(tmp_path, tokens=TOKENS) as client:
        signed, plain = (finished(client, provenance) for provenance in (beside, {**beside, "sidecar": None}))
        path = client.get(f"/jobs/{signed}", headers=bearer(TOKEN)).json()["links"]["credentials"]
        answer = client.get(path, headers=bearer(TOKEN))
        assert (answer.status_code, answer.content) == (200, b"manifest")
        assert answer.headers["content-disposition"] == 'attachment; filename="in-lipsync.webm.c2pa"'
        problem(client.get(path, headers=bearer(OTHER_TOKEN)), 404)
        assert client.get(f"/jobs/{plain}", headers=bearer(TOKEN)).json()["links"]["credentials"] is None
        told = problem(client.get(f"/jobs/{plain}/credentials", headers=bearer(TOKEN)), 404)
        assert (
            told["user_message"] == "This result has no separate credentials: it holds them itself, or is not signed."
        )
        waiting = client.post("/jobs", files=files(), headers=bearer(TOKEN)).json()["id"]
        problem(client.get(f"/jobs/{waiting}/credentials", headers=bearer(TOKEN)), 409)


def finished(client: TestClient, provenance: dict[str, object]) -> str:
    """Make a finished job with a file of credentials beside its result."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    sent = {"files": files(), "data": {"container": "webm", "codec": "vp9"}, "headers": bearer(TOKEN)}
    job_id: str = client.post("/jobs", **sent).json()["id"]
    service.store.claim(job_id)
    (service.settings.job_folder(job_id) / "result.webm.c2pa").write_bytes(b"manifest")
    report = {"frames": 3, "seconds": 1.0, "warnings": [], "provenance": provenance}
    service.store.finish(job_id, report)
    return job_id
