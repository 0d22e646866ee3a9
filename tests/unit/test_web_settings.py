"""What the web service is started with: settings that cannot be, and tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import UsageError
from client.web.__main__ import main
from client.web.settings import build_parser, parse_tokens, settings_from
from tests.web_service import NOWHERE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "-1"], "workers: expected 0 or more, got -1"),
        (["--max-jobs", "0"], "max_jobs: expected more than 0, got 0"),
        (["--max-duration", "0"], "max_duration: expected more than 0, got 0.0"),
        (["--keep-hours", "0"], "keep_hours: expected more than 0, got 0.0"),
        (["--keep-hours", "nan"], "keep_hours: expected more than 0, got nan"),
    ],
)
def test_bad_setting_fails_by_name(arguments: list[str], message: str) -> None:
    """A limit out of range is named."""
    with pytest.raises(UsageError, match=message):
        settings_from(build_parser().parse_args(arguments), {})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "--data",
            "/dev/null/jobs",
            "--data: expected a folder that can be created, got /dev/null/jobs (Not a directory)",
        ),
        ("--host", "a..b", "--port: expected a free port on a..b"),
    ],
)
def test_place_that_cannot_be_had_fails_in_one_line(
    capsys: pytest.CaptureFixture[str], name: str, value: str, message: str
) -> None:
    """What the command line names wrongly is no defect."""
    assert main(["--port", "0", "--url", NOWHERE, name, value]) == 2
    assert capsys.readouterr().err.startswith(f"lipsync web: {message}")


def test_wrong_usage_fails_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As with every other command, the options are not listed before the message."""
    with pytest.raises(SystemExit) as ending:
        main(["--port", "http"])
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m client.web: argument --port: invalid int value: 'http'. See")


@pytest.mark.parametrize("text", ["ann", "ann:short", "ann:" + "a" * 20 + ",ann:" + "b" * 20, ":" + "a" * 20])
def test_bad_tokens_fail(text: str) -> None:
    """A token that is short, nameless or doubled is refused before anything starts, and not repeated."""
    with pytest.raises(UsageError, match="LIPSYNC_WEB_TOKENS") as raised:
        parse_tokens(text)
    assert "a" * 20 not in str(raised.value)


def test_watching_can_be_turned_off() -> None:
    """Jobs are watched while they are made unless the service is told otherwise."""
    given = (settings_from(build_parser().parse_args(arguments), {}) for arguments in ([], ["--no-progressive"]))
    assert [settings.progressive for settings in given] == [True, False]


def test_clips_and_limits_of_live_streams_are_given() -> None:
    """The folder as the server is told it, by the environment; without it there are no clips."""
    arguments = ["--max-live-per-user", "1", "--max-live", "0"]
    given = settings_from(build_parser().parse_args(arguments), {"LIPSYNC_CLIPS": "clips"})
    assert (given.clips, given.max_live_per_user, given.max_live) == (Path("clips").absolute(), 1, 0)
    assert settings_from(build_parser().parse_args([]), {"LIPSYNC_CLIPS": ""}).clips is None
