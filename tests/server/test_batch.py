from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, empty_frame, swaying_head, write_video
from tests.waiting import is_gone

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a speaker, and a video without one."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "head.mp4", swaying_head(20))
    write_video(folder / "empty.mp4", [empty_frame()] * 5)
    return folder


def job(clips: Path, output: Path, video: str = "head.mp4", **choices: object) -> dict[str, object]:
    return {"video": str(clips / video), "audio": str(SPEECH), "output": str(output), **choices}


def run_batch(
    lipsync_command: list[str], server: EmbeddedServer, folder: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
    command = [*lipsync_command, "--batch", str(folder / "jobs.jsonl"), "--url", server.url]
    done = subprocess.run(
        [*command, "--if-audio-longer", "cut", *arguments], capture_output=True, text=True, check=False
    )
    report = folder / "jobs.report.jsonl"
    return done, [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def write_jobs(folder: Path, jobs: list[object]) -> None:
    (folder / "jobs.jsonl").write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in jobs)
    )


def test_batch_runs_all_jobs_and_reports_each(
    lipsync_command: list[str], server: EmbeddedServer, clips: Path, tmp_path: Path
) -> None:
    """Good jobs are done whatever becomes of the others; each failure has its exit code and its reason."""
    write_jobs(
        tmp_path,
        [
            job(clips, tmp_path / "a.mp4"),
            job(clips, tmp_path / "b.mkv", lossless=True, face="left", start=0.4),
            job(clips, tmp_path / "c.mp4", "empty.mp4"),
            job(clips, tmp_path / "d.mp4", "missing.mp4"),
            job(clips, tmp_path / "e.mp4", crf="nonsense"),
            job(clips, tmp_path / "a.mp4", crf=30),
            job(clips, tmp_path / "f.mp4", url="127.0.0.1:1"),
            "not JSON",
            {"video": "x"},
        ],
    )
    done, lines = run_batch(lipsync_command, server, tmp_path, "--jobs", "2", "--json")
    assert json.loads(done.stdout) == {
        "jobs": 9, "done": 2, "skipped": 0, "failed": 7, "report": str(tmp_path / "jobs.report.jsonl")
    }  # fmt: skip
    assert done.returncode == 8
    assert "7 of 9 jobs failed" in done.stderr.splitlines()[-1]
    by_line = {line["line"]: line for line in lines}
    assert [by_line[number]["exit_code"] for number in range(1, 10)] == [0, 0, 4, 3, 2, 2, 2, 2, 2]
    for number, reason in {
        3: "no usable face",
        5: "crf",
        6: "that of line 1",
        7: "url, line 7: expected an option of a job",
        8: "JSON",
        9: "audio",
    }.items():
        assert reason in by_line[number]["error"]
    assert (by_line[1]["report"]["frames"], by_line[2]["report"]["frames"]) == (20, 10)
    assert {path.name for path in tmp_path.iterdir()} == {"jobs.jsonl", "jobs.report.jsonl", "a.mp4", "b.mkv"}


@pytest.mark.long
def test_second_run_does_only_what_is_missing(
    lipsync_command: list[str], server: EmbeddedServer, clips: Path, tmp_path: Path
) -> None:
    """What is done is left out; a missing output, a changed line, or another option for all brings a job back."""
    jobs = [job(clips, tmp_path / f"{name}.mp4") for name in "abc"]
    write_jobs(tmp_path, jobs)
    assert run_batch(lipsync_command, server, tmp_path)[0].returncode == 0
    report = tmp_path / "jobs.report.jsonl"
    report.write_text(report.read_text() + '{"line": 1, "jo')  # as a kill -9 would leave it
    (tmp_path / "a.mp4").unlink()
    write_jobs(tmp_path, [*jobs[:2], {**jobs[2], "crf": 30}])
    again, _ = run_batch(lipsync_command, server, tmp_path, "--json")
    assert json.loads(again.stdout)["skipped"] == 1
    assert json.loads(again.stdout)["done"] == 2
    assert all((tmp_path / f"{name}.mp4").exists() for name in "abc")
    third, _ = run_batch(lipsync_command, server, tmp_path, "--json")
    assert json.loads(third.stdout)["skipped"] == 3
    write_jobs(tmp_path, jobs[:1])
    other, _ = run_batch(lipsync_command, server, tmp_path, "--json", "--preset", "ultrafast")
    assert json.loads(other.stdout)["done"] == 1


@pytest.mark.long
def test_ended_batch_goes_on(lipsync_command: list[str], server: EmbeddedServer, clips: Path, tmp_path: Path) -> None:
    """SIGTERM ends the jobs under way, too; run again, the batch does the rest."""
    write_jobs(tmp_path, [job(clips, tmp_path / f"{number}.mp4", preset="ultrafast") for number in range(3)])
    command = [*lipsync_command, "--batch", str(tmp_path / "jobs.jsonl"), "--url", server.url]
    command += ["--if-audio-longer", "cut", "--timeout", "100"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "1/3" in process.stderr.readline()
        children = descendants(process.pid)[1:]
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert all(is_gone(pid) for pid in children)
    done, _ = run_batch(lipsync_command, server, tmp_path, "--json")
    summary = json.loads(done.stdout)
    assert summary["skipped"] >= 1
    assert summary["skipped"] + summary["done"] == 3


def test_unreadable_file_fails_with_one_line(
    lipsync_command: list[str], server: EmbeddedServer, tmp_path: Path
) -> None:
    """The message names the file."""
    done, _ = run_batch(lipsync_command, server, tmp_path)
    assert done.returncode == 2
    assert "jobs.jsonl" in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 1
