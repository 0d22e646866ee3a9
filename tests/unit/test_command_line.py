from __future__ import annotations

from pathlib import Path

import pytest

from client.cli.arguments import build_parser, job_options, server_options
from client.errors import UsageError
from client.lipsync import main
from tests.media_clips import tone, write_clip, write_sound

FILES = ["--video", "v.mp4", "--audio", "a.wav", "--output", "o.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pads", "1,2,3,4"], "--pads: expected it with --model wav2lip alone, got --model mouth-motion"),
        (
            ["--model", "wav2lip", "--speed", "fast"],
            "--speed: expected it with --model latentsync alone, got --model wav2",
        ),
        (
            ["--model", "latentsync", "--blend", "box"],
            "--blend: expected it with --model wav2lip alone, got --model lat",
        ),
    ],
)
def test_an_option_of_another_model_fails(arguments: list[str], message: str) -> None:
    """It would do nothing, so it is refused and not passed over."""
    with pytest.raises(UsageError, match=message):
        job_options(build_parser().parse_args([*FILES, *arguments]))


def test_a_models_own_options_count() -> None:
    """They reach the job."""
    assert (
        job_options(build_parser().parse_args([*FILES, "--model", "latentsync", "--speed", "fast"])).diffusion.speed
        == "fast"
    )
    assert job_options(build_parser().parse_args([*FILES, "--model", "wav2lip", "--blend", "box"])).blend == "box"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "lipsync: the following arguments are required: --video, --audio, --output. See lipsync --help\n"),
        ([*FILES, "--fps", "0"], "lipsync: --fps: expected 1 to 240 frames per second, got '0'. See lipsync --help\n"),
        ([*FILES, "--crff", "2"], "lipsync: unrecognized arguments: --crff 2. See lipsync --help\n"),
        ([*FILES, "--verb"], "lipsync: unrecognized arguments: --verb. See lipsync --help\n"),
    ],
)
def test_wrong_usage_fails_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    """Without the whole usage before it, and with exit code 2."""
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("output", "arguments", "line"),
    [
        ("o.mp4", ["--crf", "52"], "lipsync: --crf: expected 0 to 51, got 52\n"),
        ("o.webm", ["--codec", "h264"], "lipsync: --codec: expected one that .webm files hold (av1 vp9), got h264."),
        ("o.mov", ["--lossless", "--codec", "prores"], "lipsync: --lossless: expected a codec that keeps yuv420p ex"),
        ("o.xyz", [], "o.xyz: expected a name ending in one of"),
        ("o.mp4", ["--start", "900"], "lipsync: --start: expected a time within"),
        ("o.mp4", ["--start", "0.3", "--end", "0.2"], "lipsync: --end: expected a time after --start (0.3 s), got"),
        ("o.mp4", ["--model", "latentsync", "--steps", "0"], "lipsync: --steps: expected 1 to 999, got 0."),
        ("o.mp4", ["--model", "latentsync", "--guidance", "0"], "lipsync: --guidance: expected a finite number"),
        ("o.mp4", ["--model", "latentsync", "--seed", "-1"], "lipsync: --seed: expected 0 to 4294967295, got -1\n"),
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
    monkeypatch.setattr("client.lipsync.open_pool", None)
    video, speech = write_clip(tmp_path / "v.mp4"), write_sound(tmp_path / "a.wav", tone(0.5))
    files = ["--video", str(video), "--audio", str(speech), "--output", str(tmp_path / output)]
    assert main([*files, "--quiet", *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "v.mp4"]


def test_a_model_repository_that_is_none_fails() -> None:
    """It is told apart from a server that does not start."""
    with pytest.raises(UsageError, match="--model-repository: expected a folder of models, got nowhere"):
        server_options(build_parser().parse_args([*FILES, "--model-repository", "nowhere"]))
