from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from client.cli.run import build_parser, job_options, run_command
from client.cli.server_arguments import server_access
from client.errors import AccessDenied, UsageError, ref
from client.lipsync import main
from client.logs import set_up_logs, take_down_logs
from client.pipelines import PIPELINES
from client.pipelines.latentsync import SPEED
from client.pipelines.wav2lip import BLEND
from tests.media_clips import tone, write_clip, write_sound

FILES = ["--video", "v.mp4", "--audio", "a.wav", "--output", "o.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pads", "1,2,3,4"], "pads: expected model wav2lip, got model mouth-motion"),
        (["--model", "wav2lip", "--speed", "fast"], "speed: expected model latentsync, got model wav2"),
        (["--model", "latentsync", "--blend", "box"], "blend: expected model wav2lip, got model lat"),
        (["--detector", "s3fd"], "detector: expected model wav2lip"),
    ],
)
def test_an_option_of_another_model_fails(arguments: list[str], message: str) -> None:
    """It would have no effect, so it is refused and not ignored."""
    with pytest.raises(UsageError, match=message):
        job_options(build_parser().parse_args([*FILES, *arguments]))


def test_a_models_own_options_count() -> None:
    """They reach the job."""
    fast = job_options(build_parser().parse_args([*FILES, "--model", "latentsync", "--speed", "fast"]))
    assert fast.values[SPEED] == "fast"
    boxed = job_options(build_parser().parse_args([*FILES, "--model", "wav2lip", "--blend", "box"]))
    assert boxed.values[BLEND] == "box"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "lipsync: the following arguments are required: --video, --audio, --output. See lipsync --help\n"),
        ([*FILES, "--crff", "2"], "lipsync: unrecognized arguments: --crff 2. See lipsync --help\n"),
        ([*FILES, "--verb"], "lipsync: unrecognized arguments: --verb. See lipsync --help\n"),
    ],
)
def test_wrong_usage_fails_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    """Without the whole usage before it, and with exit code 2."""
    with pytest.raises(SystemExit) as end:
        run_command(arguments, build_parser())
    assert end.value.code == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("output", "arguments", "line"),
    [
        ("o.mp4", ["--crf", "52"], "lipsync: --crf: expected a whole number from 0 to 51, got '52'\n"),
        (
            "o.mp4",
            ["--fps", "0"],
            "lipsync: --fps: expected 1 to 240 frames per second, such as 25 or 30000/1001",
        ),
        (
            "o.mp4",
            ["--face", "up"],
            "lipsync: --face: expected auto, largest, left, right, a number",
        ),
        ("o.mp4", ["--codec", "h265"], "lipsync: --codec: expected one of auto, h264, hevc, av1"),
        ("o.webm", ["--codec", "h264"], "codec: expected one that .webm files hold (av1 vp9), got h264."),
        ("o.mov", ["--lossless", "--codec", "prores"], "lossless: expected a codec that keeps yuv420p ex"),
        ("o.xyz", [], "lipsync: --output: expected a name ending in one of"),
        ("o.mp4", ["--start", "900"], "start: expected a time within"),
        ("o.mp4", ["--start", "0.3", "--end", "0.2"], "lipsync: --end: expected a time after --start (0.3 s), got"),
        ("o.mp4", ["--model", "latentsync", "--steps", "0"], "--steps: expected a whole number from 1 to 999, got '0'"),
        ("o.mp4", ["--model", "latentsync", "--guidance", "0"], "lipsync: --guidance: expected 1 to 100, got '0'"),
        ("o.mp4", ["--model", "latentsync", "--seed", "-1"], "whole number from 0 to 4294967295, got '-1'\n"),
    ],
)
def test_a_bad_value_fails_as_wrong_usage_before_any_server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    arguments: list[str],
    line: str,
) -> None:
    """Wherever it is found: exit code 2 and one line, and nothing is started or written."""
    monkeypatch.setattr("client.run.open_pool", None)
    video, speech = write_clip(tmp_path / "v.mp4"), write_sound(tmp_path / "a.wav", tone(0.5))
    files = ["--video", str(video), "--audio", str(speech), "--output", str(tmp_path / output)]
    assert main([*files, "--quiet", *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "v.mp4"]


def test_lack_of_memory_is_not_called_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what to do."""

    def run_job(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("client.cli.run.run_job", run_job)
    assert main(FILES) == 1
    line = "lipsync: memory ran out. Free some, or raise its limit (ulimit -v)\n"
    assert capsys.readouterr().err == line


def test_only_a_process_that_cannot_start_is_called_a_lack_of_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything else that is busy, such as a file that another process has locked, would be a bug."""

    def be_refused(*_: object) -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("client.cli.run.run_job", be_refused)
    assert main(FILES) == 1
    assert "This is a bug" in capsys.readouterr().err
    monkeypatch.setattr("client.cli.run.run_job", lambda *_: subprocess.run([sys.executable], check=True))
    monkeypatch.setattr("subprocess._fork_exec", be_refused)
    assert main(FILES) == 1
    assert "lipsync: no further thread could be started. End other programs" in capsys.readouterr().err


def test_a_model_repository_that_is_none_fails() -> None:
    """It is told apart from a server that does not start."""
    with pytest.raises(UsageError, match="model_repository: expected a folder of models, got nowhere"):
        server_access(build_parser().parse_args([*FILES, "--model-repository", "nowhere"]))


@pytest.mark.parametrize("command", [["run", "--help"], ["--help"]])
def test_help_lists_all_commands(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Plain `lipsync` is short for `lipsync run`."""
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  lipsync {name} " in shown for name in ("run", "batch", "serve", "web", "models"))


def test_models_are_listed_with_options_and_licences(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every pipeline, what it lacks, and how to export it; in words and as JSON."""
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == [pipeline.name for pipeline in PIPELINES]
    assert all(entry["ready"] or entry["export_commands"] for entry in listed)
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert all(" ".join(pipeline.description.split()[:4]) in shown for pipeline in PIPELINES)
    assert "--blend" in shown


def test_logs_spell_options_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that is only logged, such as that of one server of several, reads like one that ends the command."""
    handler = set_up_logs(as_json=False, quiet=False)
    try:
        error = AccessDenied(expected="a token that the server accepts", advice=f"Check {ref('token_file')}")
        logging.getLogger("client.servers").warning("left out: %s", error)
    finally:
        take_down_logs(handler)
    assert capsys.readouterr().err.endswith("Check --token-file\n")
