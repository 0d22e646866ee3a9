"""Real jobs that are watched while they are made, also through the loss of a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer
from tests.chaos.traces import command_line
from tests.media_clips import read_frames
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.waiting import wait_until
from tests.web_service import WebProcess, wait_for_state

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a head that sways a little."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(25))


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[WebProcess]:
    """The service, with the shared Triton."""
    with WebProcess(tmp_path / "web", "--url", server.url) as process:
        yield process


def begin(client: httpx.Client, clip: Path, **settings: str) -> dict[str, Any]:
    """Send a job, and wait until there is something to watch."""
    with clip.open("rb") as picture, SPEECH.open("rb") as speech:
        sent = client.post("/jobs", files={"video": picture, "audio": speech}, data={"fps": "50", **settings})
    job_id = sent.json()["id"]

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        assert job["state"] in ("queued", "running"), job
        return job if job["links"]["progressive"] else None

    found: dict[str, Any] = wait_until(look)
    return found


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("jobs/*/*"))


def test_job_is_watched_to_its_end(web: WebProcess, clip: Path, tmp_path: Path) -> None:
    """What was streamed meanwhile shows the frames of the result; afterwards only the result is kept."""
    copy, streamed, result = tmp_path / "copy.mp4", tmp_path / "streamed.mp4", tmp_path / "result.mp4"
    with web.client() as client:
        job = begin(client, clip)
        with client.stream("GET", job["links"]["progressive"]) as stream, streamed.open("wb") as file:
            assert stream.headers["content-type"].startswith('video/mp4; codecs="avc1.')
            parts = stream.iter_bytes()
            file.write(next(parts))
            file.flush()
            copy.write_bytes(streamed.read_bytes())
            for part in parts:
                file.write(part)
        done = wait_for_state(client, job["id"], "finished")
        result.write_bytes(client.get(done["links"]["result"]).content)
        assert client.get(job["links"]["progressive"]).status_code == 409
    frames = [frame.to_ndarray().tobytes() for frame in read_frames(streamed)]
    assert frames == [frame.to_ndarray().tobytes() for frame in read_frames(result)]
    with av.open(str(copy)) as container:
        assert 0 < sum(1 for _ in container.demux(video=0)) < len(frames)
    assert left_in(tmp_path / "web") == ["audio", "result.mp4", "video"]


@pytest.mark.long
def test_nothing_is_left_of_cancelled_and_killed_jobs(web: WebProcess, clip: Path, tmp_path: Path) -> None:
    """What a killed process was writing goes, and so does what a cancelled one was."""
    with web.client() as client:
        job = begin(client, clip)
        (process,) = [pid for pid in descendants(web.process.pid) if "job_process" in command_line(pid)]
        os.kill(process, signal.SIGKILL)
        wait_for_state(client, job["id"], "failed")
        other = begin(client, clip)
        client.post(f"{other['links']['self']}/cancel")
        wait_for_state(client, other["id"], "cancelled")
    wait_until(lambda: not [name for name in left_in(tmp_path / "web") if "progressive" in name])
