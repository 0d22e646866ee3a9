from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from client.batch import Batch, BatchJob, read_jobs
from client.cli import batch as cli_batch
from client.cli.batch import batch_command
from client.errors import BatchError
from client.options import CRF, MODEL, PRESET
from client.servers.access import BATCH_PRIORITY, ServerAccess


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"help": True}, "help, line 1: expected an option of a job"),
        ({"url": "127.0.0.1:1"}, "url, line 1: expected an option of a job"),
        ({"output": "a\0b.mp4"}, "line 1: expected paths that files can have"),
        ({"face": "\ud800"}, "face, line 1: expected auto, largest, left, right"),
        ({"face": "9" * 200_000}, "face, line 1: expected auto, largest, left, right"),
        ({"crf": "nonsense"}, "crf, line 1: expected a whole number from 0 to 51, got 'nonsense'"),
        ({"crf": 18.5}, "crf, line 1: expected a whole number from 0 to 51, got 18.5"),
        ({"container": "mov"}, "container, line 1: expected an option of a job"),
        ({"blend": "box"}, "blend, line 1: expected model wav2lip"),
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
    assert first["exit_code"] == 2
    assert "missing.mp4" in second["error"]
    assert second["exit_code"] == 3


def test_lines_choose_before_the_command(tmp_path: Path) -> None:
    """Options of the command are for all lines that do not choose; dashes and underscores mean the same."""
    files = {"video": "v", "audio": "a"}
    lines = [
        {**files, "output": "1"},
        {**files, "output": "2", "crf": 30, "model": "wav2lip", "face-box": [1, 2, 3, 4]},
    ]
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    shared = {"crf": "20", "preset": "fast"}
    first, second = (job.options for job in read_jobs(path, shared))
    assert first is not None
    assert second is not None
    assert [(job.values[CRF], job.values[PRESET]) for job in (first, second)] == [(20, "fast"), (30, "fast")]
    assert second.values[MODEL] == "wav2lip"
    assert second.needed_models == ("wav2lip", "voice_activity", "mouth_motion")
    assert Batch(shared, ServerAccess(), tmp_path).options_in_report == {"crf": 20, "preset": "fast"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "argument --jobs: expected 1 to 1000 jobs"),
        (["--url"], "argument --url: expected one argument"),
        *(
            (["--shard", text], f"argument --shard: expected I/N with 0 <= I < N, such as 0/4, got {text!r}")
            for text in ("4/4", "0/0", "1", "a/2", "1/2/3", "/2", "²/4", "0/" + "9" * 5000)
        ),
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
    assert line.startswith(f"lipsync batch: {message}")


def test_jobs_of_a_batch_let_people_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their requests have a lower level in the servers' queues, also once they are in a process of their own."""
    (tmp_path / "jobs.jsonl").write_text('{"video": "v.mp4", "audio": "a.wav", "output": "o.mp4"}\n')
    seen: list[Batch] = []
    monkeypatch.setattr(cli_batch, "run_jobs", lambda _jobs, batch, _report, _runner: seen.append(batch) or [])
    assert batch_command(["--batch", str(tmp_path / "jobs.jsonl"), "--quiet"]) == 0
    assert ServerAccess.from_json(seen[0].access.as_json()).priority == BATCH_PRIORITY > ServerAccess().priority


def test_shards_share_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job belongs to one shard, blank lines to none; an output that two lines name is refused in any shard."""
    outputs = ["a", "b", "c", "d", "a", "e", "f"]
    lines = [json.dumps({"video": "v", "audio": "a", "output": str(tmp_path / name)}) for name in outputs]
    (tmp_path / "jobs.jsonl").write_text("\n\n".join(lines))
    seen: list[tuple[str, bool]] = []

    def run_jobs(jobs: Iterable[BatchJob], *_: object, **__: object) -> list[dict[str, object]]:
        seen.extend((Path(job.name).name, job.problem is not None) for job in jobs)
        return []

    monkeypatch.setattr(cli_batch, "run_jobs", run_jobs)
    found = {}
    for index in range(3):
        seen.clear()
        assert batch_command(["--batch", str(tmp_path / "jobs.jsonl"), "--quiet", f"--shard={index}/3"]) == 0
        found[index] = list(seen)
    assert found == {
        0: [("a", False), ("d", False), ("f", False)],
        1: [("b", False), ("a", True)],
        2: [("c", False), ("e", False)],
    }
    reports = {path.name for path in tmp_path.glob("*.report.jsonl")}
    assert reports == {f"jobs.{index}-of-3.report.jsonl" for index in range(3)}


def test_shard_without_jobs_has_nothing_to_do(tmp_path: Path) -> None:
    """There may be more processes than jobs."""
    (tmp_path / "jobs.jsonl").write_text("{}\n")
    assert batch_command(["--batch", str(tmp_path / "jobs.jsonl"), "--quiet", "--shard=1/2"]) == 0
