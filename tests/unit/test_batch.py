from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.batch import batch_command
from client.errors import BatchError


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"help": True}, "ends without a report"),
        ({"output": "a\0b.mp4"}, "line 1: expected text that a command can be given"),
        ({"face": "\ud800"}, "line 1: expected text that a command can be given"),
        ({"face": "9" * 200_000}, "the job cannot be started: Argument list too long"),
    ],
)
def test_line_that_cannot_be_a_job_fails_alone(tmp_path: Path, choices: dict[str, object], reason: str) -> None:
    """Whatever a line holds, the others are still tried, and each gets its line of the report."""
    files = {"video": "missing.mp4", "audio": "missing.wav", "output": str(tmp_path / "out.mp4")}
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(f"{json.dumps({**files, **choices})}\n{json.dumps({**files, 'output': str(tmp_path / '2.mp4')})}\n")
    with pytest.raises(BatchError, match="2 of 2 jobs failed"):
        batch_command(["--batch", str(jobs), "--quiet"])
    report = map(json.loads, (tmp_path / "jobs.report.jsonl").read_text().splitlines())
    first, second = sorted(report, key=lambda entry: entry["line"])
    assert reason in first["error"]
    assert "missing.mp4" in second["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "argument --jobs: expected 1 to 1000 jobs"),
        (["--url"], "argument --url: expected one argument"),
    ],
)
def test_wrong_usage_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """As with every other command, the options are not listed before the message."""
    (tmp_path / "jobs.jsonl").write_text("{}\n")
    with pytest.raises(SystemExit) as ending:
        batch_command(["--batch", str(tmp_path / "jobs.jsonl"), *arguments])
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lipsync --batch: {message}")
