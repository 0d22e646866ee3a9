from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.media_clips import leftovers
from tests.ray_cluster import RayTestCluster
from tests.ray_stand_in import STARTS
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.waiting import is_gone, wait_until

pytestmark = pytest.mark.server
STAND_IN = [sys.executable, "-m", "tests.ray_stand_in", "batch"]
NO_SERVER = ["--url", "127.0.0.1:1"]  # which the stand-ins do not call


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayTestCluster]:
    """A cluster of two machines, each with a core for jobs."""
    pytest.importorskip("ray")
    with RayTestCluster() as started:
        started.start("second", cpus=1)
        yield started


def write_jobs(folder: Path, *videos: str) -> None:
    lines = [
        {"video": video, "audio": "a.wav", "output": str(folder / f"{number}.mp4")}
        for number, video in enumerate(videos, 1)
    ]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def start_batch(
    cluster: RayTestCluster, folder: Path, *arguments: str, command: list[str] = STAND_IN
) -> subprocess.Popen[str]:
    where = ["--batch", str(folder / "jobs.jsonl"), "--ray", cluster.address, "--ray-cpus", "1"]
    return subprocess.Popen(
        [*command, *where, *arguments],
        env={**cluster.environment, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_batch(cluster: RayTestCluster, folder: Path, *arguments: str) -> tuple[dict, list[dict], str]:
    process = start_batch(cluster, folder, *arguments, *NO_SERVER, "--json")
    output, errors = process.communicate()
    assert output.count("\n") == 1, output + errors
    return json.loads(output), report_of(folder), errors


def report_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "jobs.report.jsonl").read_text().splitlines()]


def starts_of(folder: Path) -> list[tuple[str, int]]:
    path = folder / STARTS
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def test_poison_job_is_set_aside_and_the_rest_goes_on(cluster: RayTestCluster, tmp_path: Path) -> None:
    """A job that kills its worker is tried three times; the same report tells the next run what is done."""
    write_jobs(tmp_path, "0.1", "poison", "0.1", "0.1")
    summary, lines, errors = run_batch(cluster, tmp_path)
    assert (summary["done"], summary["failed"]) == (3, 1)
    by_line = {line["line"]: line for line in lines}
    assert len(by_line) == len(lines) == 4
    assert "set aside after 3 tries" in by_line[2]["error"]
    assert by_line[2]["tries"] == 3
    assert sorted(name for name, _ in starts_of(tmp_path)) == ["1.mp4", *["2.mp4"] * 3, "3.mp4", "4.mp4"]
    assert sum(node["jobs"] for node in summary["nodes"].values()) == 3
    assert "100 %" in errors
    write_jobs(tmp_path, "0.1", "0", "0.1", "0.1")
    again, _, _ = run_batch(cluster, tmp_path)
    assert (again["skipped"], again["done"], again["failed"]) == (3, 1, 0)


def test_interrupted_batch_ends_its_jobs_on_every_machine(cluster: RayTestCluster, tmp_path: Path) -> None:
    """Ctrl-C leaves no process behind, and one line."""
    write_jobs(tmp_path, "slow", "slow", "slow")
    process = start_batch(cluster, tmp_path, *NO_SERVER)
    wait_until(lambda: len(starts_of(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGINT, errors
    assert (output, errors) == ("", "lipsync: interrupted\n")
    wait_until(lambda: all(is_gone(pid) for _, pid in starts_of(tmp_path)))
    assert len(starts_of(tmp_path)) == 2


@pytest.mark.long
def test_killed_batch_leaves_no_job_behind(cluster: RayTestCluster, tmp_path: Path) -> None:
    """Also where nobody could tell the machines."""
    write_jobs(tmp_path, "slow", "slow")
    process = start_batch(cluster, tmp_path, *NO_SERVER)
    wait_until(lambda: len(starts_of(tmp_path)) == 2)
    process.kill()
    process.communicate()
    wait_until(lambda: all(is_gone(pid) for _, pid in starts_of(tmp_path)))


@pytest.mark.long
def test_wrong_token_fails_in_one_line(cluster: RayTestCluster, tmp_path: Path) -> None:
    """A cluster takes no jobs from those who do not know its token."""
    write_jobs(tmp_path, "0")
    wrong = RayTestCluster.__new__(RayTestCluster)
    wrong.address, wrong.environment = cluster.address, {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
    process = start_batch(wrong, tmp_path, *NO_SERVER)
    _, errors = process.communicate()
    assert process.returncode == 5
    assert errors.startswith(f"lipsync: ray: {cluster.address} cannot be used: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("split", [pytest.param((), marks=pytest.mark.long), ("--split-over", "0.8")])
def test_job_on_a_cluster_equals_one_on_this_machine(
    cluster: RayTestCluster, model_repository: Path, lipsync_command: list[str], tmp_path: Path, split: tuple[str, ...]
) -> None:
    """Its machine's own Triton does the work, or those of several machines for its parts; they go with the batch."""
    write_video(tmp_path / "head.mp4", swaying_head(40))
    job = ["--if-audio-longer", "cut", "--quiet"]
    line = {"video": str(tmp_path / "head.mp4"), "audio": str(SPEECH), "output": str(tmp_path / "ray.mp4")}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(line))
    process = start_batch(cluster, tmp_path, *job, *split, command=[*lipsync_command, "batch"])
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    (entry,) = report_of(tmp_path)
    assert entry["node"] in ("head", "second")
    local = [*lipsync_command, "--video", line["video"], "--audio", line["audio"], "--output", str(tmp_path / "l.mp4")]
    done = subprocess.run([*local, *job, "--resume", "--json"], check=True, capture_output=True, text=True)
    asked_twice = json.loads(done.stdout)["requests_reused"]  # by its own look at the clip
    assert (tmp_path / "ray.mp4").read_bytes() == (tmp_path / "l.mp4").read_bytes()
    requests, reused = entry["report"]["requests"], entry["report"]["requests_reused"]
    assert reused == (requests if split else asked_twice)
    assert leftovers(tmp_path) == []


def test_jobs_of_a_lost_machine_run_on_another(cluster: RayTestCluster, tmp_path: Path) -> None:
    """Each output appears once, and no job is forgotten. Last, as the machine stays away."""
    write_jobs(tmp_path, *["2"] * 6)
    process = start_batch(cluster, tmp_path, *NO_SERVER, "--json")
    wait_until(lambda: len(starts_of(tmp_path)) == 2)
    cluster.kill("second")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output)["done"] == 6
    lines = report_of(tmp_path)
    assert sorted(line["line"] for line in lines) == [1, 2, 3, 4, 5, 6]
    assert max(line.get("tries", 1) for line in lines) == 2
    assert all((tmp_path / f"{number}.mp4").read_text() == f"{number}.mp4" for number in range(1, 7))
