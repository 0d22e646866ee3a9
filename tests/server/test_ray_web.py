"""Jobs of the web service on a real Ray cluster of two machines, with PostgreSQL and an S3-compatible server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from client.web.job_process import FOLDER_PREFIX
from tests.conftest import ROOT
from tests.postgresql import new_database, postgresql
from tests.ray_cluster import RayTestCluster
from tests.ray_web_stand_in import QUICK, SLOW, SLOW_AT_FIRST
from tests.s3_server import S3Server
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.waiting import is_gone, wait_until
from tests.web_service import NOWHERE, WebProcess, files, wait_for_state

pytestmark = pytest.mark.server
STAND_IN, SERVICE = "tests.ray_web_stand_in", "client.web"
STARTUP_S = 180.0


@dataclass
class Site:
    """A service that runs no jobs, and what a worker needs to run them on the cluster."""

    client: httpx.Client
    cluster: RayTestCluster
    s3: S3Server
    folder: Path
    environment: dict[str, str]

    def start_worker(self, stack: ExitStack, module: str = STAND_IN, *further: str) -> Worker:
        """Start a worker, which ends with the stack."""
        worker = Worker(self, module, further)
        stack.callback(worker.end)
        return worker

    def add(self, video: bytes) -> str:
        """Send a job; returns its id."""
        answer = self.client.post("/jobs", files=files(video, str(self.starts_file).encode()))
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    @property
    def starts_file(self) -> Path:
        return self.folder / "starts.txt"

    def starts(self, job_id: str) -> list[int]:
        """Return the processes that a job was started in."""
        lines = self.starts_file.read_text().splitlines() if self.starts_file.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(job_id)]

    def started(self, job_id: str, count: int = 1) -> int:
        """Wait for a job's start; returns the process."""
        wait_until(lambda: len(self.starts(job_id)) >= count, STARTUP_S)
        return self.starts(job_id)[-1]


class Worker:
    """`lipsync web --worker-only --ray`."""

    def __init__(self, site: Site, module: str, further: tuple[str, ...]) -> None:
        self.log = site.folder / "worker.log"
        where = ["--worker-only", "--data", str(site.folder / "worker"), "--media", "s3://media/jobs"]
        where += ["--ray", site.cluster.address, "--ray-cpus", "1", *further]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *where], env=site.environment, cwd=ROOT, stderr=log
            )

    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> int:
        """Ask it to end, and wait."""
        self.process.terminate()
        return self.process.wait(120)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A cluster of two machines for jobs and a head; records and files that all share."""
    pytest.importorskip("ray")
    with ExitStack() as stack:
        address, s3 = stack.enter_context(postgresql()), stack.enter_context(S3Server(tmp_path / "s3"))
        shared = {**s3.environment, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        cluster = stack.enter_context(RayTestCluster({**os.environ, **shared}, head_cpus=0))
        for name in ("first", "second"):
            cluster.start(name, cpus=1)
        environment = {**cluster.environment, "LIPSYNC_STORE": new_database(address, "jobs")}
        arguments = ["--url", NOWHERE, "--workers", "0", "--media", "s3://media/jobs"]
        front = WebProcess(tmp_path / "front", *arguments, **environment)
        client = stack.enter_context(stack.enter_context(front).client())
        yield Site(client, cluster, s3, tmp_path, environment)


def result_of(site: Site, job: dict[str, Any]) -> bytes:
    return site.client.get(job["links"]["result"]).content


@pytest.mark.long
def test_ray_web_jobs_run_on_the_machines_of_the_cluster(site: Site) -> None:
    """A cancellation reaches the machine; a machine's loss and the head's cost an attempt each, and no job."""
    with ExitStack() as stack:
        worker = site.start_worker(stack)
        quick, cancelled, lost = site.add(QUICK), site.add(SLOW), site.add(SLOW_AT_FIRST)
        assert result_of(site, wait_for_state(site.client, quick, "finished")) == b"result of quick"

        pid = site.started(cancelled)
        assert site.cluster.node_of(pid) in ("first", "second")
        site.client.post(f"/jobs/{cancelled}/cancel")
        wait_for_state(site.client, cancelled, "cancelled")
        wait_until(lambda: is_gone(pid))

        site.cluster.kill(site.cluster.node_of(site.started(lost)))
        job = wait_for_state(site.client, lost, "finished")
        assert (job["attempts"], len(site.starts(lost))) == (2, 2)

        waits = site.add(SLOW_AT_FIRST)
        pid = site.started(waits)
        site.cluster.kill("head")
        wait_until(lambda: "jobs wait until they can be run" in worker.said())
        assert worker.said().count("jobs wait until they can be run") == 1
        for name in list(site.cluster.names):
            site.cluster.kill(name)
        site.cluster.start("head", cpus=0, is_head=True)
        site.cluster.start("third", cpus=1)
        job = wait_for_state(site.client, waits, "finished")
        assert (job["attempts"], is_gone(pid)) == (2, True)
        assert worker.process.poll() is None

        interrupted = site.add(SLOW)
        pid = site.started(interrupted)
        worker.end()
        assert site.client.get(f"/jobs/{interrupted}").json()["state"] == "queued"
        wait_until(lambda: is_gone(pid))
        assert site.client.get(f"/jobs/{interrupted}").json()["attempts"] == 0
    assert "Traceback" not in worker.said()


def test_ray_web_job_is_lip_synced_by_the_triton_of_its_machine(site: Site, model_repository: Path) -> None:
    """The result is in the storage, and nothing stays on the machine."""
    write_video(site.folder / "head.mp4", swaying_head(40))
    with ExitStack() as stack:
        site.start_worker(stack, SERVICE)
        sent = files((site.folder / "head.mp4").read_bytes(), SPEECH.read_bytes())
        job = site.client.post("/jobs", files=sent, data={"if_audio_longer": "cut"}).json()
        job = wait_for_state(site.client, job["id"], "finished")
        (site.folder / "result.mp4").write_bytes(result_of(site, job))
        with av.open(str(site.folder / "result.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 40
        assert job["report"]["frames"] == 40
        assert list(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*")) == []
