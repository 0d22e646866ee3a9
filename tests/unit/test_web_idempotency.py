"""Requests that are sent again: one job for each key, through limits, races and crashes."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.web.service import Service
from tests.web_service import (
    NOWHERE,
    OTHER_TOKEN,
    TOKEN,
    TOKENS,
    SomeModels,
    WebProcess,
    bearer,
    files,
    listening,
    make_service,
    open_client,
    problem,
)

KEY = {"Idempotency-Key": "one-key"}


def test_same_request_gives_the_same_job(tmp_path: Path) -> None:
    """Sent again, in whatever state the job is, a request gives its job; no file of it stays."""
    with open_client(tmp_path) as client:
        first = client.post("/jobs", files=files(), data={"crf": "20"}, headers=KEY)
        again = client.post("/jobs", files=files(), data={"crf": "20"}, headers=KEY)
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.json()["id"] == first.json()["id"]
        assert again.headers["location"] == first.headers["location"]
        assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
        client.post(f"/jobs/{first.json()['id']}/cancel")
        assert client.post("/jobs", files=files(), data={"crf": "20"}, headers=KEY).json()["state"] == "cancelled"
        assert client.get("/jobs").json()["total"] == 1
        assert list((tmp_path / "uploads").iterdir()) == []
        assert (
            client.post("/jobs", files=files(), headers={"Idempotency-Key": "other"}).json()["id"] != first.json()["id"]
        )


@pytest.mark.parametrize(
    "other",
    [
        {"files": files(b"other video")}, {"files": files(audio=b"other")}, {"files": files(name="other.mp4")},
        {"files": files(), "data": {"crf": "21"}},
    ],
)  # fmt: skip
def test_other_request_with_the_key_fails(tmp_path: Path, other: dict[str, Any]) -> None:
    """A key that was used for other files or settings is refused, and the first job stays as it is."""
    with open_client(tmp_path) as client:
        client.post("/jobs", files=files(), headers=KEY)
        said = problem(client.post("/jobs", headers=KEY, **other), 422)
        assert said["type"] == "/problems/idempotency-key-reused"
        assert client.get("/jobs").json()["total"] == 1
        assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "\xe9"])
def test_bad_key_fails(tmp_path: Path, key: str) -> None:
    """A key that is empty, long or no printable ASCII is refused by its name."""
    with open_client(tmp_path) as client:
        answer = client.post("/jobs", files=files(), headers={"Idempotency-Key": key.encode("latin-1")})
        assert problem(answer, 422)["errors"][0]["name"] == "Idempotency-Key"


def test_keys_belong_to_their_user(tmp_path: Path) -> None:
    """Another user's key is as good as a new one."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        ids = [
            client.post("/jobs", files=files(), headers={**KEY, **bearer(token)}).json()["id"]
            for token in (TOKEN, OTHER_TOKEN)
        ]
    assert len(set(ids)) == 2


def test_key_goes_with_its_job(tmp_path: Path) -> None:
    """Once the job is removed, the key makes a new one."""
    with open_client(tmp_path) as client:
        first = client.post("/jobs", files=files(), headers=KEY).json()
        client.delete(f"/jobs/{first['id']}")
        assert client.post("/jobs", files=files(), headers=KEY).json()["id"] != first["id"]


def test_repeated_request_needs_no_free_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who repeats the request that filled the last place, or whose model has gone meanwhile, gets the job."""
    with open_client(tmp_path, max_jobs_per_user=1) as client:
        first = client.post("/jobs", files=files(), headers=KEY).json()
        problem(client.post("/jobs", files=files()), 429)
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        monkeypatch.setattr(service, "models", SomeModels())
        assert client.post("/jobs", files=files(), headers=KEY).json()["id"] == first["id"]


def test_job_of_web_addresses_has_a_key_too(tmp_path: Path) -> None:
    """The same holds for JSON."""
    urls = {"video_url": "https://example.org/v.mp4", "audio_url": "https://example.org/a.wav"}
    with open_client(tmp_path, allow_urls=True) as client:
        ids = {client.post("/jobs", json=urls, headers=KEY).json()["id"] for _ in range(2)}
        assert len(ids) == 1
        problem(client.post("/jobs", json={**urls, "crf": 20}, headers=KEY), 422)


def test_requests_at_once_make_one_job(tmp_path: Path) -> None:
    """Of twenty equal requests at the same time one makes the job, and all get it."""
    with listening(make_service(tmp_path, max_jobs_per_user=50)) as address, ThreadPoolExecutor(20) as pool:
        video = bytes(300_000)
        send = lambda _: httpx.post(f"{address}/jobs", files=files(video), headers=KEY, timeout=60)  # noqa: E731
        answers = list(pool.map(send, range(20)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    assert list((tmp_path / "uploads").iterdir()) == []


def test_two_services_make_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services of one folder that accept the same request at the same moment make one job of it."""
    ready = threading.Barrier(2, timeout=20)

    def meet(service: Service) -> Service:
        add = service.store.add

        def add_together(*values: Any, **named: Any) -> object:
            ready.wait()
            return add(*values, **named)

        monkeypatch.setattr(service.store, "add", add_together)
        return service

    with (
        listening(meet(make_service(tmp_path))) as one,
        listening(meet(make_service(tmp_path))) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        send = lambda address: httpx.post(f"{address}/jobs", files=files(), headers=KEY, timeout=60)  # noqa: E731
        answers = list(pool.map(send, (one, two)))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(list((tmp_path / "jobs").iterdir())) == 1


def test_key_survives_kill_9(tmp_path: Path) -> None:
    """The next start knows the key of a job whose service was killed."""
    with WebProcess(tmp_path, "--url", NOWHERE) as web, web.client() as client:
        first = client.post("/jobs", files=files(), headers=KEY).json()
        web.process.send_signal(signal.SIGKILL)
        web.process.wait(20)
    with WebProcess(tmp_path, "--url", NOWHERE) as web, web.client() as client:
        again = client.post("/jobs", files=files(), headers=KEY)
        assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
