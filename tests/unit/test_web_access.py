"""Who may use the service, and whose jobs they see."""

from __future__ import annotations

from pathlib import Path

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
    """Another user's job is as good as none, whatever is asked of it."""
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


def test_cors_is_for_the_named_origins_only(tmp_path: Path) -> None:
    """An origin that was named may call; others still may not."""
    with open_client(tmp_path, cors_origins=("https://good.example",)) as client:
        good = client.post("/jobs", files=files(), headers={"Origin": "https://good.example"})
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        evil = client.get("/jobs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in evil.headers
