"""Batches whose files are on a web site and in S3, through a real Triton: on this machine, and on a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from client.storage import open_storage
from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.open_guard import COMMAND
from tests.ray_cluster import RayTestCluster
from tests.s3_server import S3Server
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.web_receiver import Receiver, receiving

pytestmark = pytest.mark.server
QUERY = "signature=a-secret"
SHORT = ["--if-audio-longer", "cut"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A speaker."""
    return write_video(tmp_path_factory.mktemp("clip") / "head.mp4", swaying_head(20))


@pytest.fixture(scope="module")
def site(clip: Path) -> Iterator[Receiver]:
    """A site that has the clip for those who know the query."""
    with receiving() as running:
        running.content = {f"/head.mp4?{QUERY}": clip.read_bytes()}
        yield running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server that has the speech."""
    folder = tmp_path_factory.mktemp("s3")
    with S3Server(folder / "server") as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        open_storage("s3://media").put(SPEECH, "in/speech.flac")
        yield running


def write_jobs(folder: Path, site: Receiver, *outputs: str, path: str = f"/head.mp4?{QUERY}") -> None:
    line = {"video": site.url(path), "audio": "s3://media/in/speech.flac"}
    (folder / "jobs.jsonl").write_text("".join(json.dumps({**line, "output": output}) + "\n" for output in outputs))


def run_batch(folder: Path, environment: Mapping[str, str], *arguments: str) -> tuple[dict, list[dict], str]:
    """Run the batch with its own folder of temporary files; returns its summary, report and stderr."""
    (folder / "temporary").mkdir(exist_ok=True)
    done = subprocess.run(
        [*COMMAND, "batch", "--batch", str(folder / "jobs.jsonl"), "--json", *SHORT, *arguments],
        env={**environment, "TMPDIR": str(folder / "temporary"), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    report = (folder / "jobs.report.jsonl").read_text().splitlines()
    return json.loads(done.stdout), list(map(json.loads, report)), done.stderr


def stored(key: str, folder: Path) -> bytes:
    open_storage("s3://media").get(key, folder / "stored")
    return (folder / "stored").read_bytes()


@pytest.fixture(scope="module")
def local_result(clip: Path, server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the job gives where all its files are here."""
    output = tmp_path_factory.mktemp("local") / "o.mp4"
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(output)]
    command = [sys.executable, str(ROOT / "client" / "lipsync.py")]
    subprocess.run([*command, *files, *SHORT, "--quiet", "--url", server.url], check=True)
    return output.read_bytes()


def test_batch_from_a_site_to_s3(
    tmp_path: Path, site: Receiver, s3: S3Server, server: EmbeddedServer, local_result: bytes
) -> None:
    """The result is that of the same job on paths; what is stored is skipped, a failure stores nothing."""
    environment = {**os.environ, **s3.environment}
    write_jobs(tmp_path, site, "s3://media/out/a.mp4", str(tmp_path / "b.mp4"))
    summary, lines, errors = run_batch(tmp_path, environment, "--url", server.url)
    assert (summary["done"], summary["failed"]) == (2, 0), errors
    assert {line["report"]["output"] for line in lines} == {"s3://media/out/a.mp4", str(tmp_path / "b.mp4")}
    assert stored("out/a.mp4", tmp_path) == (tmp_path / "b.mp4").read_bytes() == local_result
    again, _, _ = run_batch(tmp_path, environment, "--url", server.url)
    assert again["skipped"] == 2
    write_jobs(tmp_path, site, "s3://media/out/none.mp4", path=f"/none.mp4?{QUERY}")
    failed, _, errors = run_batch(tmp_path, environment, "--url", server.url)
    assert failed["failed"] == 1
    assert f"{site.url('/none.mp4')}: expected an address that returns the file, got status 404" in errors
    assert "a-secret" not in errors + (tmp_path / "jobs.report.jsonl").read_text()
    assert "out/none.mp4" not in s3.names()
    assert not list((tmp_path / "temporary").glob("lipsync-urls-*"))


@pytest.mark.long
def test_machines_of_a_cluster_fetch_and_store(
    tmp_path: Path, site: Receiver, s3: S3Server, server: EmbeddedServer, local_result: bytes
) -> None:
    """The command needs no keys for that, only to find out what is done; its machine fetches nothing."""
    pytest.importorskip("ray")
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    variables = {**s3.environment, "PYTHONPATH": str(ROOT), "TMPDIR": str(nodes)}
    with RayTestCluster({**os.environ, **variables}) as cluster:
        cluster.start("second", cpus=1)
        keyless = {name: value for name, value in cluster.environment.items() if not name.startswith("AWS_")}
        where = ["--ray", cluster.address, "--ray-cpus", "1", "--split-over", "0.3", "--url", server.url]
        write_jobs(tmp_path, site, *(f"s3://media/ray/{name}.mp4" for name in "abc"))
        summary, lines, errors = run_batch(tmp_path, keyless, *where)
        assert summary["done"] == 3, errors
        assert {line["node"] for line in lines} <= {"head", "second"}
        again, _, _ = run_batch(tmp_path, {**keyless, **s3.environment}, *where)
        assert again["skipped"] == 3
    assert all(stored(f"ray/{name}.mp4", tmp_path) == local_result for name in "abc")
    assert not list(nodes.glob("lipsync-urls-*"))
