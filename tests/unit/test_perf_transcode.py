"""The ratio of a job to a plain transcode, with an imitated ffmpeg."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.jobs import transcode
from perf.jobs.timing import JobRun
from tests.unit.test_perf_timing import run


def imitate_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program of this name first; returns the file that it may note its arguments in."""
    program, noted = folder / "ffmpeg", folder / "arguments"
    program.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return noted


def test_pairs_run_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """FFmpeg has the job's default settings and copies the sound; each pair is printed."""
    noted = imitate_ffmpeg(tmp_path, monkeypatch, "sleep 0.1")
    seen: list[int] = []

    def run_job() -> JobRun:
        seen.append(len(noted.read_text().splitlines()))
        return run(1.0)

    ratios = transcode.time_pairs(Path("in.mp4"), run_job, 2)
    assert seen == [1, 2]
    assert all(2 < ratio <= 10 for ratio in ratios)
    assert "-i in.mp4 -c:v libx264 -preset veryfast -crf 18 -c:a copy" in noted.read_text()
    assert capsys.readouterr().out.startswith("pair 1: ffmpeg 0.")


def test_transcode_fails_with_ffmpegs_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without the program with what to install."""
    imitate_ffmpeg(tmp_path, monkeypatch, "echo first >&2; echo 'in.mp4: no such file' >&2; exit 1")
    with pytest.raises(ValueError, match="^ffmpeg: in.mp4: no such file$"):
        transcode.transcode_seconds(Path("in.mp4"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="expected the program ffmpeg, got none. Install Debian's package ffmpeg"):
        transcode.main(["in.mp4", "speech.wav"])
