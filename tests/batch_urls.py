"""A site and an S3 server with the files of batches, and jobs that join them in place of lip-sync."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import job_process
from client.batch import read_jobs
from client.batch.jobs import BatchJob
from client.job_options import JobOptions
from client.job_process import JobRequest
from client.report import Report
from client.servers.access import ServerAccess
from client.sound.options import BACKGROUND
from client.storage import open_storage, url_guard, urls
from tests.s3_server import S3Server
from tests.web_receiver import Receiver, receiving

SECRET = "X-Amz-Signature=a-secret"
VIDEO = f"/v.mp4?{SECRET}"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A site of the public web with a video."""
    with receiving() as running:
        running.content = {VIDEO: b"video of the web", "/empty.mp4": b""}
        monkeypatch.setattr(url_guard, "PUBLIC_WEB", running.guard())
        yield running


@pytest.fixture(scope="module")
def s3_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3(s3_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, named in the environment, with speech and music."""
    for name, value in s3_running.environment.items():
        monkeypatch.setenv(name, value)
    urls._bucket.cache_clear()
    for key in ("speech.wav", "music.mp3"):
        put(key, key.encode())
    yield s3_running
    open_storage("s3://media").remove("out")
    urls._bucket.cache_clear()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def put(key: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        open_storage("s3://media").put(Path(file.name), key)


def content(key: str) -> bytes:
    return b"".join(open_storage("s3://media").read(key, 0, 1000))


def line_of(site: Receiver, **choices: object) -> dict[str, object]:
    files = {"video": site.url(VIDEO), "audio": "s3://media/speech.wav"}
    return {**files, "output": "s3://media/out/o.mp4", **choices}


def read(folder: Path, *lines: dict[str, object]) -> list[BatchJob]:
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(read_jobs(folder / "jobs.jsonl", {}))


def request_of(job: BatchJob) -> JobRequest:
    """A job's request as its process reads it."""
    assert job.options is not None, job.problem
    request = JobRequest(job.options, ServerAccess(), Path("models"), urls=job.urls)
    return JobRequest.from_json(request.as_json())


Run = Callable[[JobOptions], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What jobs do in place of lip-sync: by default, join their inputs."""

    def join(job: JobOptions) -> None:
        voices = job.script.files if job.script else [job.audio]
        inputs = [job.video, *voices, *filter(lambda sound: isinstance(sound, Path), [job.values[BACKGROUND]])]
        job.output.write_bytes(b"; ".join(path.read_bytes() for path in inputs if path))

    runs = [join]

    def run_job(job: JobOptions, *_: object) -> Report:
        runs[0](job)
        return Report(output=str(job.output), job_id=job.job_id, model="", transport="", width=1, height=1, video_fps=1)

    monkeypatch.setattr(job_process, "run_job", run_job)
    return runs
