"""Links to results without a token: bound to job and time, gone with the job; and when jobs go."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from client.errors import UsageError
from client.web import signed_links
from client.web.service import Service
from client.web.signed_links import LinkSigner
from tests.web_service import OTHER_TOKEN, TOKEN, TOKENS, bearer, files, make_service, open_client, problem

ANN = bearer(TOKEN)


def finished_job(client: TestClient) -> str:
    """Make a finished job of ann's; its result has ten bytes."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    job_id: str = client.post("/jobs", files=files(), headers=ANN).json()["id"]
    service.store.claim(job_id)
    (service.settings.job_folder(job_id) / "result.mp4").write_bytes(b"0123456789")
    service.store.finish(job_id, {"frames": 3, "seconds": 1.0, "warnings": []})
    return job_id


def test_link_works_without_a_token(tmp_path: Path) -> None:
    """Whoever has the link gets the file, or a part of it, on any page; the job itself stays closed."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        job_id = finished_job(client)
        made = client.post(f"/jobs/{job_id}/result-url", headers=ANN).json()
        assert made["url"].startswith("http://testserver/shared/")
        answer = client.get(made["url"])
        assert (answer.status_code, answer.content) == (200, b"0123456789")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["content-disposition"].startswith("inline")
        assert client.get(made["url"], headers={"Range": "bytes=2-3"}).content == b"23"
        problem(client.get(f"/jobs/{job_id}/result"), 401)
        download = client.post(f"/jobs/{job_id}/result-url", json={"download": True}, headers=ANN).json()["url"]
        assert client.get(download).headers["content-disposition"].startswith("attachment")


def test_link_that_was_changed_fails(tmp_path: Path) -> None:
    """Another job, another time or another signature makes it worth nothing; only owners get links."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        job_id, other = finished_job(client), finished_job(client)
        problem(client.post(f"/jobs/{job_id}/result-url", headers=bearer(OTHER_TOKEN)), 404)
        problem(client.post(f"/jobs/{job_id}/result-url"), 401)
        url = client.post(f"/jobs/{job_id}/result-url", headers=ANN).json()["url"]
        expires = parse_qs(urlsplit(url).query)["expires"][0]
        for changed in (
            url.replace(job_id, other),
            url.replace(expires, str(int(expires) + 1)),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("signature=", "signature=%F0%9F%92%A5"),
        ):
            assert client.get(changed).status_code in (403, 422)
        assert problem(client.get(url.replace(job_id, other)), 403)["type"] == "/problems/link-not-valid"


def test_link_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link works until its time, which is a day at most and no later than the job's own."""
    with open_client(tmp_path, tokens=TOKENS, keep_s=7200.0) as client:
        job_id = finished_job(client)
        problem(client.post(f"/jobs/{job_id}/result-url", json={"expires_in_s": 86_401}, headers=ANN), 422)
        problem(client.post(f"/jobs/{job_id}/result-url", json={"expires_in_s": 5}, headers=ANN), 422)
        made = client.post(f"/jobs/{job_id}/result-url", json={"expires_in_s": 86_400}, headers=ANN).json()
        job = client.get(f"/jobs/{job_id}", headers=ANN).json()
        assert abs(datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(job["expires_at"])).seconds < 2
        ends = datetime.fromisoformat(made["expires_at"]).timestamp()
        monkeypatch.setattr(signed_links.time, "time", lambda: ends + 1)
        assert "expired" in problem(client.get(made["url"]), 403)["user_message"]


def test_link_goes_with_its_job(tmp_path: Path) -> None:
    """Removing the job revokes every link to its result."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        job_id = finished_job(client)
        url = client.post(f"/jobs/{job_id}/result-url", headers=ANN).json()["url"]
        client.delete(f"/jobs/{job_id}", headers=ANN)
        assert problem(client.get(url), 404)["type"] == "/problems/file-gone"


def test_job_without_a_result_has_no_link(tmp_path: Path) -> None:
    """Only finished jobs have links."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        job = client.post("/jobs", files=files(), headers=ANN).json()
        assert job["expires_at"] is None
        problem(client.post(f"/jobs/{job['id']}/result-url", headers=ANN), 409)


def test_key_of_links_is_kept(tmp_path: Path) -> None:
    """The key stays the same from start to start, for all services of a store; another store has another."""
    one, two, other = (make_service(tmp_path / name).links.sign("a", "result", 1) for name in ("x", "x", "y"))
    assert one == two != other


def test_key_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    """Links that were given out go on working; the file goes."""
    (tmp_path / "link-key").write_bytes(bytes(range(32)))
    for _ in range(2):
        assert make_service(tmp_path).links.sign("a", "result", 1) == LinkSigner(bytes(range(32))).sign(
            "a", "result", 1
        )
    assert not (tmp_path / "link-key").exists()


def test_damaged_key_fails(tmp_path: Path) -> None:
    """A key that is none, or a link to one, is not used."""
    file = tmp_path / "link-key"
    file.write_bytes(b"short")
    with pytest.raises(UsageError, match="data: expected a key of 32 bytes"):
        make_service(tmp_path)
    file.unlink()
    (tmp_path / "elsewhere").write_bytes(bytes(32))
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="data: expected a key of 32 bytes"):
        make_service(tmp_path)


def test_job_says_when_it_goes(tmp_path: Path) -> None:
    """An ended job says when it is removed: as long after its end as jobs are kept."""
    with open_client(tmp_path, tokens=TOKENS, keep_s=3600.0) as client:
        job = client.get(f"/jobs/{finished_job(client)}", headers=ANN).json()
    ended, expires = (datetime.fromisoformat(job[name]) for name in ("ended_at", "expires_at"))
    assert (expires - ended).total_seconds() == 3600
