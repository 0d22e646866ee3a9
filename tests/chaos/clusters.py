"""What happens to the Ray cluster that runs a batch, and to its jobs there."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

from lipsync_core.serving.endpoints import LOOPBACK
from lipsync_core.serving.ports import free_port
from tests.chaos import faults, traces
from tests.chaos.case import Launch, Skip, Unexpected
from tests.chaos.faults import Fault, Serve
from tests.chaos.scene import POLL_S, Running, Scene
from tests.ray_cluster import RAY, RayTestCluster
from tests.waiting import is_gone, wait_until

JOBS = "jobs.jsonl"
JOB = "client.job_process"  # on the command line of a job's process
WITHOUT_RAY = "import sys\n\nsys.modules['ray'] = None\n"
MOUNTED = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
START_TIMEOUT_S = 180.0
THAW_AFTER_S = 20.0  # long after the cluster has given a node up


def batch_of_one(scene: Scene) -> tuple[str, ...]:
    """Run the case's files as a batch."""
    files = {"video": scene.video, "audio": scene.audio, "output": scene.output}
    path = scene.inputs / JOBS
    path.write_text(json.dumps({name: str(file) for name, file in files.items()}))
    return "batch", "--batch", str(path)


# what the batch runs on


def nodes(*names: str) -> Serve:
    """Use a cluster of these nodes and a head that runs no jobs; the jobs call the server that all cases share."""
    return lambda scene: _options(scene, _start(scene, names))


def node_with_small_disk(size: str) -> Serve:
    """Use a cluster with one node for jobs, on which the output's disk is small."""

    def serve(scene: Scene) -> tuple[str, ...]:
        small = (*faults.own_mounts(), "sh", "-c", MOUNTED, "sh", f"size={size}", str(scene.results))
        return _options(scene, _start(scene, ("small",), small))

    return serve


def no_cluster(scene: Scene) -> tuple[str, ...]:
    """Name an address at which nobody listens."""
    return "--ray", f"{LOOPBACK}:{free_port()}"


def auto(scene: Scene) -> tuple[str, ...]:
    """Leave it to the command to start a cluster."""
    return "--ray", "auto"


def without_ray(scene: Scene) -> Launch:
    """Start the command where Ray is not installed."""
    (scene.inputs / "sitecustomize.py").write_text(WITHOUT_RAY)
    return Launch(environment={"PYTHONPATH": str(scene.inputs)})


# what is done to it


def second_submitter(scene: Scene, job: Running) -> None:
    """Submit the same batch while it runs: that is refused."""
    _job_pid(scene, job)
    ending = scene.start(options=_options(scene, _cluster(scene))).end(scene.case.timeout_s)
    if ending.code != 2 or "another batch" not in ending.last_words:
        raise Unexpected(f"the second submitter ended with {ending.code}: {ending.last_words}")


def kill_job(times: int) -> Fault:
    """Kill the job's process, that often."""

    def kill(scene: Scene, job: Running) -> None:
        for _ in range(times):
            pid = _job_pid(scene, job)
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(is_gone, pid))

    return kill


def kill_worker(scene: Scene, job: Running) -> None:
    """Kill Ray's process around the job."""
    status = Path(f"/proc/{_job_pid(scene, job)}/stat").read_text()
    parent = int(status.rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)


def kill_node(scene: Scene, job: Running) -> None:
    """Kill all processes of the node that runs the job."""
    _cluster(scene).kill(_node_of_job(scene, job))


def freeze_node(scene: Scene, job: Running) -> None:
    """Freeze the node that runs the job, and let it go on when the cluster has given it up."""
    name = _node_of_job(scene, job)
    _cluster(scene).freeze(name)
    time.sleep(THAW_AFTER_S)
    _cluster(scene).thaw(name)


def kill_head(scene: Scene, job: Running) -> None:
    """Kill the head while a job runs."""
    _job_pid(scene, job)
    _cluster(scene).kill("head")


def kill_head_in_a_job(scene: Scene, job: Running) -> None:
    """Kill the head during a job that does not end by itself."""
    _cluster(scene).freeze(_node_of_job(scene, job))
    _cluster(scene).kill("head")


def restart_all(scene: Scene, job: Running) -> None:
    """Kill the head and the node that runs the job, as when the power fails, and start both again."""
    _cluster(scene).kill(_node_of_job(scene, job))
    _cluster(scene).kill("head")
    _cluster(scene).start("head", cpus=0, is_head=True)
    _cluster(scene).start("third", cpus=1)


def wait_for_report(words: str) -> Fault:
    """Do nothing, but wait until the report says something of the job."""

    def wait(scene: Scene, job: Running) -> None:
        job.process.wait(scene.case.timeout_s)
        report = (scene.inputs / JOBS).with_suffix(".report.jsonl").read_text()
        if words not in report:
            raise Unexpected(f"the report does not say '{words}': {report}")

    return wait


def _start(scene: Scene, names: tuple[str, ...], prefix: tuple[str, ...] = ()) -> RayTestCluster:
    """Start a cluster of the case's own.

    Raises:
        Skip: Ray is not installed.
    """
    if not RAY.exists():
        raise Skip("Ray is not installed (pip install 'lipsync-triton[ray]')")
    cluster = scene.cluster = scene.stack.enter_context(RayTestCluster(scene.environment(), head_cpus=0))
    for name in names:
        cluster.start(name, cpus=1, prefix=prefix)
    return cluster


def _options(scene: Scene, cluster: RayTestCluster) -> tuple[str, ...]:
    return "--ray", cluster.address, "--ray-cpus", "1", *faults.shared(scene)


def _cluster(scene: Scene) -> RayTestCluster:
    assert scene.cluster is not None
    return scene.cluster


def _node_of_job(scene: Scene, job: Running) -> str:
    return _cluster(scene).node_of(_job_pid(scene, job))


def _job_pid(scene: Scene, job: Running) -> int:
    """Return the process id of the case's job, once one runs.

    Raises:
        Unexpected: none does.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        for pid in traces.marked_pids(scene.token):
            if JOB in traces.command_line(pid):
                return pid
        if job.process.poll() is not None or time.monotonic() > deadline:
            raise Unexpected(f"no job has begun: {job.text()[-500:]}")
        time.sleep(POLL_S)
