"""What is ready of a running job's result: who gets it, when, and how it ends. No job runs; tests write its file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from client.media import AudioSource, VideoSource, VideoWriter, timeline
from client.web.app import create_app
from client.web.service import Service
from client.web.store import LIP_SYNCING
from tests.media_clips import read_frames, tone, write_clip, write_sound
from tests.waiting import wait_until
from tests.web_service import (
    OTHER_TOKEN,
    TOKEN,
    TOKENS,
    add_job,
    bearer,
    files,
    listening,
    make_service,
    open_client,
    problem,
)

FRAMES = 75
ANN, BOB = bearer(TOKEN), bearer(OTHER_TOKEN)


@dataclass
class Running:
    """A job that is recorded as running, and what writes its result.

    Attributes:
        service: the service.
        id: the job.
        writer: writes the result.
        write: encodes so many further frames.
    """

    service: Service
    id: str
    writer: VideoWriter
    write: Callable[[int], None]

    @property
    def path(self) -> str:
        """Where what is ready can be had."""
        return f"/jobs/{self.id}/progressive"

    @property
    def file(self) -> Path:
        """The progressive file."""
        return self.service.settings.job_folder(self.id) / "result.progressive.mp4"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A job of Ann's that runs."""
    service = make_service(tmp_path / "data", tokens=TOKENS)
    job_id = add_job(service)
    service.store.claim(job_id)
    service.store.begin_stage(job_id, LIP_SYNCING, FRAMES)
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=FRAMES))
    speech = AudioSource(write_sound(tmp_path / "speech.wav", tone(FRAMES / 25)))
    shown = timeline(source, speech.duration)
    output = service.settings.job_folder(job_id) / "result.mp4"
    with VideoWriter(output, source, speech, progressive="on") as writer:

        def write(frames: int) -> None:
            for frame in islice(shown, frames):
                writer.write(frame.picture, frame.pts, frame.duration)

        write(1)
        yield Running(service, job_id, writer, write)


def client_of(running: Running) -> TestClient:
    return TestClient(create_app(running.service), headers=ANN)


def test_it_grows_and_ends_with_the_job(running: Running, tmp_path: Path) -> None:
    """A stream brings each fragment as it is made, and ends with the last one: the frames are those of the result."""
    running.write(40)
    with listening(running.service) as address:
        received: list[bytes] = []

        def follow() -> None:
            with httpx.stream("GET", f"{address}{running.path}", headers=ANN, timeout=20) as stream:
                received.extend(stream.iter_bytes())

        follower = threading.Thread(target=follow)
        follower.start()
        wait_until(lambda: sum(map(len, received)) == running.file.stat().st_size)
        before = sum(map(len, received))
        running.write(20)
        wait_until(lambda: sum(map(len, received)) > before)
        running.write(FRAMES)
        running.writer.close()
        follower.join(20)
        assert not follower.is_alive()
    assert not running.file.exists()
    (tmp_path / "received.mp4").write_bytes(b"".join(received))
    frames = read_frames(tmp_path / "received.mp4")
    result = read_frames(running.file.with_name("result.mp4"))
    assert [frame.to_ndarray().tobytes() for frame in frames] == [frame.to_ndarray().tobytes() for frame in result]


def test_job_says_when_there_is_something_to_watch(running: Running) -> None:
    """The link is there from the first fragment on, while the job runs; HEAD tells the codecs."""
    with client_of(running) as client:
        assert client.get(f"/jobs/{running.id}").json()["links"]["progressive"] is None
        running.write(40)
        assert client.get(f"/jobs/{running.id}").json()["links"]["progressive"] == running.path
        answer = client.head(running.path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == 'video/mp4; codecs="avc1.64000a,mp4a.40.2"'
        assert answer.headers["cache-control"] == "no-store"
        running.service.store.cancel(running.id)
        assert client.get(f"/jobs/{running.id}").json()["links"]["progressive"] is None


def test_others_have_none_of_it(running: Running) -> None:
    """Another user's job does not exist, and without a token nothing does."""
    running.write(40)
    with TestClient(create_app(running.service)) as client:
        assert problem(client.get(running.path, headers=BOB), 404)["type"] == "/problems/no-such-job"
        problem(client.get(running.path), 401)


def test_jobs_without_it_say_why(running: Running) -> None:
    """Nothing written so far, or on this machine; waiting; ended: each has a problem of its kind."""
    with client_of(running) as client:
        said = problem(client.get(running.path), 404)
        assert said["type"] == "/problems/nothing-ready"
        assert "another machine" in said["user_message"]
        queued = add_job(running.service, "b" * 32)
        said = problem(client.get(f"/jobs/{queued}/progressive"), 409)
        assert "queued" in said["detail"]
        running.service.store.finish(running.id, {})
        assert "finished" in problem(client.get(running.path), 409)["detail"]


def test_what_a_killed_worker_left_is_not_shown(running: Running) -> None:
    """Its file, older than the attempt that runs on another machine by now, is not what is ready."""
    running.write(40)
    os.utime(running.file, (time.time() - 60,) * 2)
    with client_of(running) as client:
        problem(client.get(running.path), 404)
        running.service.media.drop_unfinished(running.id)
    assert not running.file.exists()


def test_stream_ends_where_the_job_was_killed(running: Running) -> None:
    """The file stays as it is, but its job no longer runs."""
    running.write(40)
    with (
        listening(running.service) as address,
        httpx.stream("GET", f"{address}{running.path}", headers=ANN, timeout=20) as stream,
    ):
        parts = stream.iter_bytes()
        size = len(next(parts))
        running.service.store.requeue(running.id)
        size += sum(map(len, parts))
    assert size == running.file.stat().st_size


def test_format_that_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    """A job that asks for both is refused when it is sent."""
    with open_client(tmp_path) as client:
        settings = {"progressive": "true", "container": "mov", "codec": "prores"}
        said = problem(client.post("/jobs", files=files(), data=settings), 422)
    assert said["detail"].startswith("progressive: expected a video codec that mp4 files hold")
    assert said["user_message"].startswith("Watch while it is made: Needed: a video codec that mp4 files hold")
