"""The web service as a process of its own, with a real Triton: jobs from upload to download, and through accidents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from client.web.store import JobStore
from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer
from tests.chaos.traces import command_line
from tests.postgresql import PASSWORD, new_database, postgresql
from tests.s3_server import S3Server
from tests.server.clips import SPEECH, empty_frame, head_frame, swaying_head, write_video
from tests.waiting import is_gone, wait_until
from tests.web_service import WebProcess, wait_for_state

pytestmark = pytest.mark.server
BRIEF = {"if_audio_longer": "cut", "end": "0.2", "check": "off"}  # five frames
LONG = {"fps": "120"}  # a thousand frames: long enough to be caught at work


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a head that sways a little."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(25))


@pytest.fixture(scope="module")
def web(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """The service, with the shared Triton."""
    with WebProcess(tmp_path_factory.mktemp("web"), "--url", server.url) as process:
        yield process


@pytest.fixture(scope="module")
def client(web: WebProcess) -> Iterator[httpx.Client]:
    """A client of the service."""
    with web.client() as opened:
        yield opened


def send(client: httpx.Client, video: Path, **settings: str) -> dict[str, Any]:
    with video.open("rb") as picture, SPEECH.open("rb") as speech:
        answer = client.post("/jobs", files={"video": picture, "audio": speech}, data=settings)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    job: dict[str, Any] = answer.json()
    return job


def job_processes(service: int) -> list[int]:
    """Process ids of the jobs that a service runs."""
    return [pid for pid in descendants(service) if "client.web.job_process" in command_line(pid)]


def test_job_goes_from_upload_to_download(client: httpx.Client, clip: Path) -> None:
    """A job is followed by events until it is finished; the result is as long as the audio."""
    job = send(client, clip, if_audio_longer="cut")
    with client.stream("GET", job["links"]["events"]) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert [event["id"] for event in events] == [job["id"]] * len(events)
    done = events[-1]
    assert (done["state"], done["percent"], done["error"]) == ("finished", 100.0, None)
    assert done["report"]["frames_synced"] == 25
    assert "output" not in done["report"]
    answer = client.get(done["links"]["result"], params={"download": True})
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="head-lipsync.mp4"'
    with av.open(BytesIO(answer.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


def test_result_and_video_come_in_parts(client: httpx.Client, clip: Path) -> None:
    """Range requests give that part, a range behind the end is refused, and the video sent comes back whole."""
    job = wait_for_state(client, send(client, clip, **BRIEF)["id"], "finished")
    whole = client.get(job["links"]["result"]).content
    part = client.get(job["links"]["result"], headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole)}"
    behind = client.get(job["links"]["result"], headers={"Range": f"bytes={len(whole) + 5}-"})
    assert behind.status_code == 416
    assert client.get(job["links"]["video"]).content == clip.read_bytes()


def test_running_job_is_cancelled(web: WebProcess, client: httpx.Client, clip: Path) -> None:
    """Cancelling ends the process of a running job, leaves no result, and the next job runs."""
    job = send(client, clip, **LONG)
    wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["frames"] > 0)
    assert job_processes(web.process.pid)
    assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] in ("cancelling", "cancelled")
    cancelled = wait_for_state(client, job["id"], "cancelled")
    assert cancelled["links"]["result"] is None
    wait_until(lambda: not job_processes(web.process.pid))
    assert client.get(f"/jobs/{job['id']}/result").status_code == 409
    assert client.post(f"/jobs/{job['id']}/cancel").status_code == 200
    wait_for_state(client, send(client, clip, **BRIEF)["id"], "finished")


def test_deleted_job_leaves_no_files(web: WebProcess, client: httpx.Client, clip: Path) -> None:
    """A finished job's files go at once with its record."""
    job = wait_for_state(client, send(client, clip, **BRIEF)["id"], "finished")
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.get(f"/jobs/{job['id']}").status_code == 404
    assert client.get(f"/jobs/{job['id']}/result").status_code == 404
    assert all(listed["id"] != job["id"] for listed in client.get("/jobs").json()["jobs"])


def test_video_without_a_face_fails_in_peoples_words(client: httpx.Client, tmp_path: Path) -> None:
    """The job's error says what is wrong, without a path of the server."""
    video = write_video(tmp_path / "empty.mp4", [empty_frame()] * 4)
    job = wait_for_state(client, send(client, video, if_audio_longer="cut")["id"], "failed")
    assert job["error"]["title"] == "No face was found"
    assert job["error"]["detail"].startswith("video: no usable face in any of 4 frames")
    assert job["error"]["user_message"].startswith("Video: no usable face in any of 4 frames")
    assert "/" not in job["error"]["detail"]


def test_playlist_fails_without_reading_other_files(client: httpx.Client, tmp_path: Path) -> None:
    """A playlist of the server's own files is no video, whatever its name says."""
    video = tmp_path / "list.mp4"
    video.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    job = wait_for_state(client, send(client, video)["id"], "failed")
    assert job["error"]["title"] == "The video or the audio cannot be used"
    assert str(tmp_path) not in json.dumps(job)


def test_faces_of_a_picture_are_found(client: httpx.Client, tmp_path: Path) -> None:
    """A picture with two heads gives two faces from left to right, each with the choice that picks it."""
    import cv2

    picture = np.hstack([head_frame(), head_frame()[:, ::-1]])
    cv2.imwrite(str(tmp_path / "two.jpg"), picture[..., ::-1])
    found = client.post("/faces", files={"picture": (tmp_path / "two.jpg").read_bytes()}).json()
    assert (found["width"], found["height"]) == (512, 256)
    assert [face["x1"] < 256 for face in found["faces"]] == [True, False]
    refused = client.post("/faces", files={"picture": b"no picture"})
    assert refused.status_code == 422
    assert "/" not in refused.json()["detail"].removesuffix("mp4 or wav")


def test_models_and_readiness(client: httpx.Client) -> None:
    """The models are those that Triton has; the service is ready and counts its jobs."""
    assert "mouth-motion" in [model["id"] for model in client.get("/models").json()["models"]]
    assert client.get("/ready").status_code == 200
    assert 'lipsync_web_jobs_ended_total{state="finished"}' in client.get("/metrics").text


@pytest.mark.long
def test_jobs_survive_kill_9(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """After kill -9, finished jobs stay, the running one goes on with its finished parts, and the queued one runs."""
    with WebProcess(tmp_path / "data", "--url", server.url) as web, web.client() as client:
        finished = wait_for_state(client, send(client, clip, if_audio_longer="cut")["id"], "finished")
        running, queued = send(client, clip, **LONG), send(client, clip, if_audio_longer="cut")
        wait_until(lambda: client.get(f"/jobs/{running['id']}").json()["frames"] > 100)
        orphans = job_processes(web.process.pid)
        web.process.kill()
        web.process.wait(20)
    with WebProcess(tmp_path / "data", "--url", server.url) as web, web.client() as client:
        again = wait_for_state(client, running["id"], "finished")
        assert wait_for_state(client, queued["id"], "finished")["attempts"] == 1
        assert again["attempts"] == 2
        assert again["report"]["requests_reused"] > 0
        assert again["report"]["frames"] == again["report"]["frames_synced"] > 1000
        assert client.get(finished["links"]["result"]).status_code == 200
        assert client.get(f"/jobs/{finished['id']}").json()["attempts"] == 1
    assert all(is_gone(pid) for pid in orphans)
    assert not list((tmp_path / "data" / "jobs").glob("*/parts"))


def test_terminated_service_leaves_its_job_for_the_next(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """SIGTERM ends service and job process with code 143; the job waits in the queue, its attempt uncounted."""
    with WebProcess(tmp_path, "--url", server.url) as web, web.client() as client:
        job = send(client, clip, **LONG)
        wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["frames"] > 0)
        orphans = job_processes(web.process.pid)
        web.process.terminate()
        assert web.process.wait(60) == 128 + signal.SIGTERM
    assert all(is_gone(pid) for pid in orphans)
    record = JobStore(tmp_path / "jobs.sqlite3").get(job["id"])
    assert record is not None
    assert (record.state, record.attempts) == ("queued", 0)


@pytest.mark.long
def test_own_triton_starts_and_ends_with_the_service(model_repository: Path, clip: Path, tmp_path: Path) -> None:
    """One command serves page and Triton; killed, Triton is restarted; Ctrl-C ends all with code 0."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with WebProcess(tmp_path / "data", TMPDIR=str(temporary)) as web, web.client() as client:
        wait_for_state(client, send(client, clip, if_audio_longer="cut")["id"], "finished")
        (folder,) = temporary.glob("lipsync-server-*")
        kill_tritonserver(folder)
        wait_until(lambda: folder not in set(temporary.glob("lipsync-server-*")))
        wait_until(lambda: client.get("/ready").status_code == 200)
        wait_for_state(client, send(client, clip, if_audio_longer="cut")["id"], "finished")
        web.process.send_signal(signal.SIGINT)
        assert web.process.wait(60) == 0
    assert list(temporary.glob("lipsync-server-*")) == []


def kill_tritonserver(folder: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"/") and b"tritonserver\0" in command and str(folder).encode() in command:
            os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def worker_process(data: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `--worker-only`, and end it."""
    command = [sys.executable, "-m", "client.web", "--data", str(data), *arguments, "--worker-only"]
    with subprocess.Popen(command, env=os.environ | environment) as worker:
        try:
            yield worker
        finally:
            worker.terminate()


@pytest.mark.long
def test_workers_elsewhere_share_database_and_storage(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """A worker that is killed and one that takes over share nothing but PostgreSQL and S3 with the service."""
    with postgresql() as address, S3Server(tmp_path / "s3") as s3:
        environment = {**s3.environment, "LIPSYNC_STORE": new_database(address, "jobs")}
        shared = ["--url", server.url, "--media", "s3://media/jobs"]
        with WebProcess(tmp_path / "web", *shared, "--workers", "0", **environment) as web, web.client() as client:
            job = send(client, clip, **LONG)
            assert not list((tmp_path / "web" / "jobs").iterdir())
            with worker_process(tmp_path / "one", *shared, **environment) as worker:
                wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["frames"] > 0)
                assert PASSWORD not in b" ".join(Path(f"/proc/{worker.pid}/cmdline").read_bytes().split(b"\0")).decode()
                worker.kill()
            with worker_process(tmp_path / "two", *shared, **environment) as worker:
                done = wait_for_state(client, job["id"], "finished")
                assert (done["attempts"], done["report"]["frames"]) == (2, done["report"]["frames_synced"])
                assert f"jobs/{job['id']}/result.mp4" in s3.names()
                whole = client.get(done["links"]["result"]).content
                part = client.get(done["links"]["result"], headers={"Range": "bytes=100-299"})
                assert (part.status_code, part.content) == (206, whole[100:300])
                assert client.get(done["links"]["video"]).content == clip.read_bytes()
                wait_until(lambda: not list((tmp_path / "two" / "jobs").iterdir()))
            assert worker.returncode == 128 + signal.SIGTERM


@pytest.mark.long
def test_cancelled_diffusion_frees_the_server_within_a_step(
    latentsync_server: EmbeddedServer, clip: Path, tmp_path: Path
) -> None:
    """A job of many steps that is cancelled leaves the network alone: no step follows, and the next job runs."""

    def steps_run() -> int:
        with triton_grpc.InferenceServerClient(latentsync_server.url) as triton:
            return int(triton.get_inference_statistics("latentsync_unet").model_stats[0].execution_count)

    with WebProcess(tmp_path, "--url", latentsync_server.url) as web, web.client() as client:
        choices = {"model": "latentsync", "if_audio_longer": "cut"}
        job = send(client, clip, **choices, steps="999", guidance="2.5")
        before = steps_run()
        wait_until(lambda: steps_run() > before + 2)
        client.post(f"/jobs/{job['id']}/cancel")
        wait_for_state(client, job["id"], "cancelled")
        run = steps_run()
        time.sleep(1)
        assert steps_run() <= run + 2  # one step of each of two requests may have been under way
        wait_for_state(client, send(client, clip, **choices, steps="1", end="0.2")["id"], "finished")
