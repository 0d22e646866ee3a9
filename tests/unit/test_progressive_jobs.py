"""Whole jobs by the command line that write a progressive file, with an imitated server; killed ones too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from client.job_options import JobOptions
from client.lipsync import main
from client.media.progressive import ProgressiveFile
from tests.conftest import ROOT
from tests.imitation_triton import OPTIONS, imitated_server
from tests.media_clips import tone, write_clip, write_sound

FRAMES = 75
ENDED_AT_THE_END = """
import os, sys
from unittest import mock
from client.lipsync import main
from client.media.progressive import ProgressiveFile
from tests.imitation_triton import imitated_server

def end(file):
    assert file.path.stat().st_size
    os.kill(os.getpid(), int(sys.argv[1]))

with imitated_server(), mock.patch.object(ProgressiveFile, "finish", end):
    sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The arguments of a job, whose output has a folder of its own."""
    video = write_clip(tmp_path / "clip.mp4", frames=FRAMES)
    speech = write_sound(tmp_path / "speech.wav", tone(FRAMES / 25))
    output = tmp_path / "results" / "out.mp4"
    output.parent.mkdir()
    return ["--video", str(video), "--audio", str(speech), "--output", str(output), "--quiet", *OPTIONS]


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "results").iterdir())


def test_result_is_the_same_with_and_without(tmp_path: Path, command: list[str]) -> None:
    """The option changes no byte of the result, and only the result is left."""
    with imitated_server():
        assert main(command) == 0
        plain = (tmp_path / "results" / "out.mp4").read_bytes()
        with mock.patch.object(ProgressiveFile, "finish", autospec=True) as finish:
            assert main([*command, "--progressive"]) == 0
    assert finish.called
    assert (tmp_path / "results" / "out.mp4").read_bytes() == plain
    assert names(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_ended_job_leaves_nothing_that_its_next_run_does_not_clear_up(
    tmp_path: Path, command: list[str], ending: signal.Signals
) -> None:
    """SIGTERM leaves no progressive file; after SIGKILL, the same command begins it again and removes it at its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable, "-c", ENDED_AT_THE_END, str(int(ending)), *command, "--progressive", "--resume"]
    subprocess.run(program, env=environment, check=False)
    left = [name for name in names(tmp_path) if not name.endswith(".work")]
    assert left == ([] if ending is signal.SIGTERM else [*left[:1], "out.progressive.mp4"])
    with imitated_server() as triton:
        assert main([*command, "--progressive", "--resume"]) == 0
    assert triton.requests["wav2lip"] == 0  # the finished parts were used, and the file written from its beginning
    assert names(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    ("chosen", "is_watched", "expected"),
    [(None, False, "off"), (None, True, "if possible"), (True, False, "on"), (True, True, "on"), (False, True, "off")],
)
def test_what_is_chosen_goes_before_what_the_service_does(chosen: bool | None, is_watched: bool, expected: str) -> None:
    """A service has jobs watched where that is possible; a job that asks for it is refused where it is not."""
    job = JobOptions.read(Path("in.mp4"), Path("in.wav"), Path("out.mp4"), {"progressive": chosen})
    assert replace(job, is_watched=is_watched).progressive == expected


def test_codec_that_mp4_cannot_hold_is_refused(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, before any server is asked."""
    with imitated_server() as triton:
        output = str(tmp_path / "results" / "out.mkv")
        assert main([*command, "--output", output, "--codec", "ffv1", "--progressive"]) == 2
    assert not triton.used
    assert capsys.readouterr().err == (
        "lipsync: --progressive: expected a video codec that mp4 files hold (h264 hevc av1 vp9), got ffv1. Leave it"
        " out, or choose another --codec or file format\n"
    )
    assert names(tmp_path) == []
