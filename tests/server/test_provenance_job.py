"""Signed and marked jobs on a real server: what changes, what stays, and what batches do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from client.provenance.certificates import make_credentials
from client.provenance.findings import examine
from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.server.clips import SPEECH, read_planes, swaying_head, write_video
from tests.server.jobs import job_runner

pytestmark = pytest.mark.server
FRAMES = 75


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "head.mp4", swaying_head(FRAMES))


def test_mark_leaves_what_the_server_left(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Samples that lip-syncing did not change are bit-identical with the mark; changed ones move by two levels."""
    run = job_runner(server, if_audio_longer="cut", lossless=True)
    marked, plain = tmp_path / "marked.mp4", tmp_path / "plain.mp4"
    assert run(clip, SPEECH, marked, mark=True).provenance.is_marked
    assert not run(clip, SPEECH, plain).provenance.is_marked
    moved = 0
    for source, without, with_mark in zip(*map(read_planes, (clip, plain, marked)), strict=True):
        step = with_mark.astype(int) - without
        assert not step[source == without].any()
        assert np.abs(step).max() <= 2
        moved += np.count_nonzero(step)
    assert moved > FRAMES * 1000
    assert examine(marked).exit_code == 11
    assert examine(plain).exit_code == 12


@pytest.mark.long
def test_jobs_of_a_batch_are_signed(
    server: EmbeddedServer, clip: Path, tmp_path: Path, lipsync_command: list[str]
) -> None:
    """By options of their lines, with paths as the batch sees them, or by the environment; neither shows the key."""
    pytest.importorskip("c2pa")
    files = make_credentials(tmp_path / "credentials", "Test Studio")
    shared = {"video": str(clip), "audio": str(SPEECH), "if_audio_longer": "cut"}
    own = {"sign_cert": "credentials/signing.pem", "sign_key": "credentials/signing.key"}
    lines = [{**shared, "output": str(tmp_path / "a.mp4"), **own}, {**shared, "output": str(tmp_path / "b.mp4")}]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    environment = {"LIPSYNC_SIGN_CERT": str(files.certificate), "LIPSYNC_SIGN_KEY": str(files.key)}
    ended = subprocess.run(
        [*lipsync_command, "batch", "--batch", "jobs.jsonl", "--url", server.url, "--log-json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for name in ("a.mp4", "b.mp4"):
        found = examine(tmp_path / name)
        assert found.exit_code == 0
        assert found.credentials is not None
        assert found.credentials.signed_by == "Test Studio"
    secret = files.key.read_text().splitlines()[1]
    assert secret not in ended.stderr + ended.stdout + (tmp_path / "jobs.report.jsonl").read_text()
