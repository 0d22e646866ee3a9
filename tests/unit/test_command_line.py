from __future__ import annotations

import pytest

from client.command_line import build_parser, job_options
from client.errors import UsageError

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
    ],
)
def test_wrong_usage_fails_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    """Without the whole usage before it, and with exit code 2."""
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == line
