"""Jobs of web addresses: answered at once, fetched while they wait, through cancellation and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from client.web.app import create_app
from client.web.background import Background
from client.web.fetching import MAX_AT_ONCE, JobFetcher
from client.web.media_probe import MediaFacts
from client.web.recovery import recover
from client.web.service import Service
from client.web.store import JobStore
from tests.waiting import wait_until
from tests.web_receiver import Receiver, receiving
from tests.web_service import make_service, problem, turns


@pytest.fixture
def site() -> Iterator[Receiver]:
    """A site with a video and recorded speech."""
    with receiving() as running:
        running.content = {"/v.mp4": b"video of the web", "/a.wav": b"sound of the web", "/large": bytes(5000)}
        yield running


def service_with(folder: Path, site: Receiver, **settings: Any) -> Service:
    return make_service(folder, **{"guard": site.guard(), "allow_urls": True, "max_upload_bytes": 1000} | settings)


def client_of(service: Service) -> TestClient:
    return TestClient(create_app(service))


def urls(site: Receiver, video: str = "/v.mp4", audio: str = "/a.wav", host: str = "public.example") -> dict[str, str]:
    return {"video_url": site.url(video), "audio_url": site.url(audio, host)}


def state_of(client: TestClient, job: dict[str, Any]) -> str:
    state: str = client.get(f"/jobs/{job['id']}").json()["state"]
    return state


def test_job_is_answered_before_its_files_are_fetched(tmp_path: Path, site: Receiver) -> None:
    """The answer comes at once; then the job is in the queue's order like any other."""
    site.hold.clear()
    service = service_with(tmp_path, site)
    client = client_of(service)
    with Background(service):
        job = client.post("/jobs", json={**urls(site), "crf": 20}).json()
        assert (job["state"], job["stage"], job["queue_position"]) == ("queued", "fetching", None)
        assert (job["video_name"], job["audio_name"], job["settings"]["crf"]) == ("v.mp4", "a.wav", 20)
        wait_until(lambda: site.asked)
        assert service.store.claim(job["id"]) is None
        recover(service.store, service.media)
        assert turns(service.store) == []
        site.hold.set()
        wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["stage"] == "")
        wait_until(lambda: turns(service.store) == [job["id"]])
    fetched = client.get(f"/jobs/{job['id']}").json()
    assert (fetched["state"], fetched["queue_position"]) == ("queued", 1)
    folder = tmp_path / "jobs" / job["id"]
    assert [(folder / name).read_bytes() for name in ("video", "audio")] == [b"video of the web", b"sound of the web"]
    assert not list(folder.glob("*.part"))
    assert service.store.claim(job["id"]) is not None


@pytest.mark.parametrize(
    ("audio", "host", "title", "detail"),
    [
        ("/large", "public.example", "The upload is too large", "audio_url: expected at most"),
        ("/none", "public.example", "The web address cannot be used", "audio_url: expected an address that returns"),
        ("/a.wav", "inside.example", "The web address cannot be used", "audio_url: expected an address of the public"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_fails_the_job(
    tmp_path: Path, site: Receiver, audio: str, host: str, title: str, detail: str
) -> None:
    """The job says what the answer would have said; nothing half-done stays, and it can be tried again."""
    service = service_with(tmp_path, site)
    client = client_of(service)
    with Background(service):
        job = client.post("/jobs", json=urls(site, audio=audio, host=host)).json()
        wait_until(lambda: state_of(client, job) == "failed")
        told = client.get(f"/jobs/{job['id']}").json()
        assert told["error"]["title"] == title
        assert told["error"]["detail"].startswith(detail)
        assert "expected" not in told["error"]["user_message"]
        assert not list((tmp_path / "jobs" / job["id"]).glob("*.part"))
        site.content["/none"] = b"now it is there"
        again = client.post(f"/jobs/{job['id']}/retry").json()
        assert (again["state"], again["stage"]) == ("queued", "fetching")
        wait_until(lambda: client.get(again["links"]["self"]).json()["stage"] == "")
    assert state_of(client, job) == ("queued" if audio == "/none" else "failed")


def test_long_speech_from_the_web_fails_the_job(tmp_path: Path, site: Receiver) -> None:
    """Lengths are limited as those of uploads are, in the same words."""

    async def facts(paths: Sequence[Path]) -> list[MediaFacts]:
        return [MediaFacts(codec="png"), MediaFacts(length_s=36_000)]

    service = service_with(tmp_path, site, probe=facts)
    client = client_of(service)
    with Background(service):
        job = client.post("/jobs", json=urls(site)).json()
        wait_until(lambda: state_of(client, job) == "failed")
    assert client.get(f"/jobs/{job['id']}").json()["error"]["title"] == "The speech is too long"


def test_full_disk_fails_the_job_that_fetches(tmp_path: Path, site: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is checked while fetching too."""
    service = service_with(tmp_path, site)
    client = client_of(service)
    job = client.post("/jobs", json=urls(site)).json()
    monkeypatch.setattr(service.disk, "free_bytes", lambda: -1)
    with Background(service):
        wait_until(lambda: state_of(client, job) == "failed")
    assert client.get(f"/jobs/{job['id']}").json()["error"]["title"] == "The disk is full"


@pytest.mark.parametrize("is_removed", [False, True])
def test_fetch_is_cancelled_with_its_job(tmp_path: Path, site: Receiver, is_removed: bool) -> None:
    """A job that is cancelled or removed while it fetches ends at once, and leaves no half file."""
    site.hold.clear()
    service = service_with(tmp_path, site)
    client = client_of(service)
    with Background(service):
        job = client.post("/jobs", json=urls(site)).json()
        folder = tmp_path / "jobs" / job["id"]
        wait_until(lambda: (folder / "video.part").exists())
        if is_removed:
            assert client.delete(f"/jobs/{job['id']}").status_code == 204
        else:
            assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
        wait_until(lambda: not (folder / "video.part").exists())
        assert site.asked == ["/v.mp4"]
    assert service.store.state_of(job["id"]) == "cancelled"
    assert turns(service.store) == []


def test_fetch_goes_on_after_a_restart(tmp_path: Path, site: Receiver) -> None:
    """A job whose service ended while it fetched is fetched by the next one, from the start."""
    site.hold.clear()
    first = service_with(tmp_path, site)
    with Background(first):
        job = client_of(first).post("/jobs", json=urls(site)).json()
        wait_until(lambda: site.asked)
    assert first.store.state_of(job["id"]) == "queued"
    (tmp_path / "jobs" / job["id"] / "video.part").write_bytes(b"what kill -9 left")
    site.hold.set()
    second = service_with(tmp_path, site)
    with Background(second):
        wait_until(lambda: turns(second.store) == [job["id"]])
    assert (tmp_path / "jobs" / job["id"] / "video").read_bytes() == b"video of the web"


def test_fetches_of_others_take_no_place(tmp_path: Path, site: Receiver) -> None:
    """However many jobs another service fetches, this one helps with the next."""
    service = service_with(tmp_path, site)
    other = JobStore(tmp_path / "jobs.sqlite3")
    client = client_of(service)
    jobs = [client.post("/jobs", json=urls(site)).json() for _ in range(MAX_AT_ONCE + 1)]
    for job in jobs[:-1]:
        assert other.claim_fetch(job["id"])
    fetcher = JobFetcher(service)

    async def look_once() -> list[str]:
        await fetcher.look()
        begun = list(fetcher._tasks)
        await asyncio.gather(*(task for _, task in fetcher._tasks.values()))
        return begun

    assert asyncio.run(look_once()) == [jobs[-1]["id"]]
    wait_until(lambda: turns(service.store) == [jobs[-1]["id"]])


def test_restart_without_urls_fails_what_waits(tmp_path: Path, site: Receiver) -> None:
    """A service that fetches nothing any more says so, and opens no connection."""
    job = client_of(service_with(tmp_path, site)).post("/jobs", json=urls(site)).json()
    service = service_with(tmp_path, site, allow_urls=False)
    client = client_of(service)
    with Background(service):
        wait_until(lambda: state_of(client, job) == "failed")
    assert client.get(f"/jobs/{job['id']}").json()["error"]["title"] == "Web addresses are not accepted"
    assert site.asked == []


def test_bad_address_fails_at_once(tmp_path: Path, site: Receiver) -> None:
    """What can be seen without a connection is refused before there is a job."""
    client = client_of(service_with(tmp_path, site))
    said = problem(client.post("/jobs", json={**urls(site), "video_url": "file:///etc/passwd"}), 422)
    assert said["type"] == "/problems/address-refused"
    assert client.get("/jobs").json()["total"] == 0


def test_one_user_fetches_a_few_at_a_time(tmp_path: Path, site: Receiver) -> None:
    """However many jobs of one user wait for their files, others are fetched too."""
    site.hold.clear()
    service = service_with(tmp_path, site, tokens={"ann": "a" * 16, "bob": "b" * 16})
    client = client_of(service)
    with Background(service):
        for token in ("a" * 16, "a" * 16, "a" * 16, "b" * 16):
            client.post("/jobs", json=urls(site), headers={"Authorization": f"Bearer {token}"})
        wait_until(lambda: len(list(tmp_path.glob("jobs/*/video.part"))) == len(site.asked) == 3)
        fetching = [service.store.get(path.parent.name) for path in tmp_path.glob("jobs/*/video.part")]
    assert sorted(job.user for job in fetching if job) == ["ann", "ann", "bob"]
