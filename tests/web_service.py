"""The web service for tests: without Triton in this process, or whole in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
from starlette.testclient import TestClient

from client.pipelines import PIPELINES
from client.servers.access import ServerAccess
from client.storage.url_guard import PUBLIC_WEB, UrlGuard
from client.web.__main__ import WebServer
from client.web.app import create_app
from client.web.job_media import JobMedia
from client.web.live_streams import OpenSession
from client.web.media_probe import MediaFacts
from client.web.service import Probe, Service
from client.web.settings import LOOPBACK_HOSTS, Settings
from client.web.store import JobStore, open_store
from client.web.triton import LoadedModels
from client.web.views import ModelList, ModelView
from client.web.worker import Workers
from tests.waiting import wait_until

TOKEN, OTHER_TOKEN = "a-token-for-tests-of-ann", "a-token-for-tests-of-bob"
NOWHERE = "127.0.0.1:1"  # nothing listens there
NO_TRITON = ServerAccess((NOWHERE,))


class SomeModels(LoadedModels):
    """Pretends that a Triton has models, without asking one."""

    def __init__(self, *models: str, unavailable: Mapping[str, list[str]] | None = None, live: bool = False) -> None:
        super().__init__(NO_TRITON)
        self._models, self._unavailable, self._live = models, dict(unavailable or {}), live

    def get(self) -> ModelList:
        models = [
            ModelView(id=name, title=name, description="For tests.", settings=[], unavailable=self._unavailable)
            for name in self._models
        ]
        return ModelList(models=models, detectors=["mediapipe"], live=self._live)


ALL_MODELS = SomeModels(*(pipeline.name for pipeline in PIPELINES))


async def no_facts(paths: Sequence[Path]) -> list[MediaFacts]:
    """Replace the process that measures media."""
    return [MediaFacts() for _ in paths]


def make_service(
    folder: Path,
    models: LoadedModels = ALL_MODELS,
    probe: Probe = no_facts,
    guard: UrlGuard = PUBLIC_WEB,
    open_session: OpenSession | None = None,
    **settings: Any,
) -> Service:
    """Make a service that accepts jobs and runs none."""
    hosts = (*LOOPBACK_HOSTS, "testserver")
    chosen = Settings(folder, **{"allowed_hosts": hosts, "min_free_bytes": 0} | settings)
    chosen.create_folders()
    return Service(chosen, open_store(chosen), JobMedia(chosen), models, probe, guard, open_session)


def open_client(folder: Path, **settings: Any) -> TestClient:
    """Make a client of such a service's app; errors of the app are answers, as in real life."""
    return TestClient(create_app(make_service(folder, **settings)), raise_server_exceptions=False)


def files(video: bytes = b"video", audio: bytes = b"audio", name: str = "in.mp4") -> dict[str, Any]:
    """Make the files of a job, for httpx."""
    return {"video": (name, video), "audio": ("speech.wav", audio)}


@contextmanager
def listening(service: Service) -> Iterator[str]:
    """Serve on a free port of loopback, from a thread; gives the address."""
    server = WebServer(service, log_level="critical")
    server.config.port = 0
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, 20)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class WebProcess:
    """`python -m client.web` on a free port, as a context that ends it."""

    def __init__(
        self, data: Path, *arguments: str, example: bool = False, stderr: IO[str] | None = None, **environment: str
    ) -> None:
        """Start it; the context waits until it serves."""
        command = [sys.executable, "-m", "client.web", "--data", str(data), "--port", "0", "--min-free-mb", "0"]
        without = [] if example else ["--no-example"]
        self.process = subprocess.Popen(
            [*command, *without, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | environment,
        )
        self.address = ""

    def __enter__(self) -> WebProcess:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "open http://" in line, line
        self.address = line.split()[3]
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, **headers: str) -> httpx.Client:
        """Open a client for its address."""
        return httpx.Client(base_url=self.address, timeout=60, headers=headers)


def wait_for_state(client: httpx.Client, job_id: str, *states: str) -> dict[str, Any]:
    """Wait until a job is in one of these states, and return it."""

    def look() -> dict[str, Any] | None:
        job = client.get(f"/jobs/{job_id}").json()
        assert job["state"] in states or job["state"] not in ("finished", "failed", "cancelled"), job
        return job if job["state"] in states else None

    found: dict[str, Any] = wait_until(look)
    return found


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is an RFC 9457 problem, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["status"] == status
    assert {"type", "title", "detail", "user_message"} <= set(said)
    assert not re.search("expected .*, got ", said["user_message"])
    return said


TOKENS = {"ann": TOKEN, "bob": OTHER_TOKEN}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def add_job(service: Service, name: str = "a" * 32) -> str:
    """Record a queued job with a video alone; returns its id."""
    folder = service.settings.job_folder(name)
    folder.mkdir()
    (folder / "video").write_bytes(b"video")
    service.store.add(name, "ann", {"model": "mouth-motion", "container": "mp4"}, "in.mp4", "in.wav")
    return name


def turns(store: JobStore) -> list[str]:
    """Return all queued jobs in the order in which they run."""
    users = {job.user for job in store.in_state("queued")}
    places = {job_id: place for user in users for job_id, place in store.places_of(user).items()}
    return sorted(places, key=places.__getitem__)


def die_with(service: Service, job_id: str) -> None:
    """Claim a job in a process that ends at once."""
    code = (
        "import sys; from pathlib import Path; from client.web.store import JobStore;"
        "assert JobStore(Path(sys.argv[1])).claim(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(service.store.place), job_id], check=True)


def workers_of(service: Service) -> Workers:
    return Workers(service.settings, service.store, service.media, NO_TRITON, lambda access: None)
