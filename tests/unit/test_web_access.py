"""Who may use the service, and whose jobs they see."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.web import sessions
from tests.web_service import OTHER_TOKEN, TOKEN, TOKENS, bearer, files, open_client, problem


def test_token_is_needed_where_there_is_one(tmp_path: Path) -> None:
    """Without a valid token nothing but health, readiness, session and the page answers."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        for headers in ({}, bearer("wrong"), bearer(""), {"Authorization": f"Basic {TOKEN}"}, bearer("\xff")):
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            assert problem(client.get("/jobs", headers=encoded), 401)  # type: ignore[arg-type]
            assert client.get("/jobs", headers=encoded).headers["www-authenticate"].startswith("Bearer")  # type: ignore[arg-type]
        for path in (
            "/models",
            "/options",
            "/limits",
            "/metrics",
            "/events",
            "/jobs/x",
            "/jobs/x/events",
            "/status/x",
            "/result/x",
        ):
            problem(client.get(path), 401)
        for path in ("/jobs", "/submit", "/faces", "/jobs/x/cancel"):
            problem(client.post(path, files=files()), 401)
        for path in ("/", "/health", "/ready", "/session"):
            assert client.get(path).status_code == 200
        assert client.get("/jobs", headers=bearer(TOKEN)).status_code == 200


def test_users_see_their_own_jobs_only(tmp_path: Path) -> None:
    """Another user's job is not found, whatever is asked of it."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        job = client.post("/jobs", files=files(), headers=bearer(TOKEN)).json()
        for method, path in (
            ("GET", ""),
            ("GET", "/result"),
            ("GET", "/video"),
            ("GET", "/events"),
            ("POST", "/cancel"),
            ("DELETE", ""),
        ):
            problem(client.request(method, f"/jobs/{job['id']}{path}", headers=bearer(OTHER_TOKEN)), 404)
        assert client.get("/jobs", headers=bearer(OTHER_TOKEN)).json()["total"] == 0
        assert client.get(f"/jobs/{job['id']}", headers=bearer(TOKEN)).json()["state"] == "queued"


def test_session_stands_for_the_token(tmp_path: Path) -> None:
    """A token is exchanged for a cookie that scripts cannot read; it does not hold the token, and cannot be made up."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        problem(client.post("/session", json={"token": "wrong"}), 401)
        answer = client.post("/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/jobs").status_code == 200
        assert client.get("/session").json() == {"token_needed": True, "signed_in": True}
        value = client.cookies["lipsync_session"]
        assert client.delete("/session").status_code == 204
        problem(client.get("/jobs"), 401)
        for forged in (f"9{value}", value[:-1] + ("0" if value[-1] != "0" else "1"), "9999999999.", "x"):
            client.cookies.clear()
            client.cookies.set("lipsync_session", forged)
            problem(client.get("/jobs"), 401)


def test_signing_out_ends_the_session_for_good(tmp_path: Path) -> None:
    """A cookie that was copied is worth nothing after signing out, also after a restart; other sessions go on."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        cookies = []
        for _ in range(2):
            client.post("/session", json={"token": TOKEN})
            cookies.append(client.cookies["lipsync_session"])
            client.cookies.clear()
        client.delete("/session", headers={"Cookie": f"lipsync_session={cookies[0]}"})
        problem(client.get("/jobs", headers={"Cookie": f"lipsync_session={cookies[0]}"}), 401)
        assert client.get("/jobs", headers={"Cookie": f"lipsync_session={cookies[1]}"}).status_code == 200
    with open_client(tmp_path, tokens=TOKENS) as client:
        problem(client.get("/jobs", headers={"Cookie": f"lipsync_session={cookies[0]}"}), 401)
        assert client.get("/jobs", headers={"Cookie": f"lipsync_session={cookies[1]}"}).status_code == 200


def test_attempts_to_sign_in_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After several wrong tokens even the right one waits a while; bearer tokens and sessions go on."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        for _ in range(sessions.MAX_FAILURES):
            problem(client.post("/session", json={"token": "wrong"}), 401)
        refused = client.post("/session", json={"token": TOKEN})
        assert problem(refused, 429)["title"] == "Too many attempts"
        assert 0 < int(refused.headers["retry-after"]) <= sessions.FAILURES_S
        assert client.get("/jobs", headers=bearer(TOKEN)).status_code == 200
        monkeypatch.setattr(sessions, "FAILURES_S", 0.0)
        assert client.post("/session", json={"token": TOKEN}).status_code == 204


def test_cors_is_for_the_named_origins_only(tmp_path: Path) -> None:
    """An origin that was named may call; others still may not."""
    with open_client(tmp_path, cors_origins=("https://good.example",)) as client:
        good = client.post("/jobs", files=files(), headers={"Origin": "https://good.example"})
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        evil = client.get("/jobs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in evil.headers
