"""A job that is killed after its output was encoded and while it is signed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from client.lipsync import main
from client.provenance.certificates import make_credentials
from client.provenance.findings import examine
from client.resume.work_folder import default_work_dir
from tests.conftest import ROOT
from tests.imitation_triton import PaintingTriton, imitated_server
from tests.media_clips import leftovers, tone, write_clip, write_sound
from tests.unit.test_provenance_signing import FRAMES, JOB

pytest.importorskip("c2pa")
KILLED_WHILE_SIGNING = """
import os, signal, sys
from unittest import mock
from client.lipsync import main
from tests.imitation_triton import imitated_server

def die(part, target, *rest):
    target.write_bytes(part.read_bytes()[:1000])
    os.kill(os.getpid(), signal.SIGKILL)

with imitated_server(), mock.patch("client.provenance.seal.sign_into", die):
    sys.exit(main())
"""


def test_job_that_is_killed_while_signing_resumes(tmp_path: Path) -> None:
    """Nothing lies under the final name; the same command signs without asking the server again, and clears up."""
    video = write_clip(tmp_path / "clip.mp4", size=(320, 240), frames=FRAMES)
    speech = write_sound(tmp_path / "speech.wav", tone(FRAMES / 25))
    files = make_credentials(tmp_path / "credentials", "Test Studio")
    output = tmp_path / "results" / "out.mp4"
    output.parent.mkdir()
    paths = ("--video", str(video), "--audio", str(speech), "--output", str(output))
    command = [*paths, *JOB, "--sign-cert", str(files.certificate), "--sign-key", str(files.key), "--resume"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_SIGNING, *command], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    assert default_work_dir(output).is_dir()
    with imitated_server(), mock.patch.object(PaintingTriton, "infer", side_effect=AssertionError("asked again")):
        assert main(command) == 0
    assert examine(output).exit_code == 0
    assert leftovers(output.parent) == []
    assert [path.name for path in output.parent.iterdir()] == ["out.mp4"]
