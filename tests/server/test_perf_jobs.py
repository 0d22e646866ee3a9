"""Whole jobs measured through a real tritonserver."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from client.report import Report
from lipsync_core.latentsync.options import SPEEDS
from lipsync_core.serving.server import EmbeddedServer
from perf.__main__ import main
from perf.gpu import server_memory
from perf.jobs import benchmark
from perf.jobs.benchmark_rows import load_benchmark
from perf.jobs.timing import JobRun, RunJob
from tests.server.clips import head_frame, write_video, write_wave

pytestmark = pytest.mark.server


@pytest.fixture
def sample(tmp_path: Path) -> str:
    video = write_video(tmp_path / "v.mp4", [head_frame(shift) for shift in range(6)])
    tone = 0.3 * np.sin(np.arange(4000) / 20).astype(np.float32)
    return f"short={video},{write_wave(tmp_path / 'a.wav', tone)}"


def test_a_benchmark_row_has_times_memory_and_stages(server: EmbeddedServer, sample: str, tmp_path: Path) -> None:
    """A pipeline on the CPU: published columns, seconds per second, fps, memory, stages; kept when run again."""
    command = ["benchmark", "--sample", sample, "--pipelines", "mouth-motion", "--output", str(tmp_path / "out")]
    assert main([*command, "--", "--url", server.url]) == 0
    (row,) = load_benchmark(tmp_path / "out").rows.values()
    assert (row.key.pipeline, row.key.gpu, row.key.sample) == ("mouth-motion", "CPU", "short")
    assert row.figures["seconds_per_second"] == pytest.approx(
        row.figures["time_sec"] / row.figures["video_s"], abs=0.01
    )
    assert row.figures["frames_synced"] == row.figures["frames"] >= 6
    assert row.figures["peak_host_mb"] > 50  # an interpreter with numpy, OpenCV and PyAV
    assert row.stages["encode"] > 0
    (written,) = csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines())
    assert written["video"] == "v.mp4"
    assert main([*command, "--", "--url", server.url]) == 0
    assert list(load_benchmark(tmp_path / "out").rows.values()) == [row]


def test_each_gpu_gets_its_runs(monkeypatch: pytest.MonkeyPatch, sample: str, tmp_path: Path) -> None:
    """Two GPUs: two rows, each job sees its own card alone."""
    seen = []

    def job_in_child(
        video: Path, audio: Path, arguments: list[str], environment: dict[str, str], gpus: list[int]
    ) -> RunJob:
        seen.append((environment["CUDA_VISIBLE_DEVICES"], gpus, arguments))
        report = Report("out.mp4", "job", "latentsync", "shm", 64, 64, 25.0, frames=100, frames_synced=99)
        report.seconds, report.duration_s, report.seconds_per_stage = 2.0, 4.0, {"decode": 1.0}
        return lambda: JobRun(report, 500.0, {"gpu_memory_mb": 9000.0})

    cards = [benchmark.Gpu(0, "NVIDIA A", 1.0, "550"), benchmark.Gpu(1, "NVIDIA B", 1.0, "550")]
    monkeypatch.setattr(benchmark, "job_in_child", job_in_child)
    monkeypatch.setattr(benchmark, "list_gpus", lambda: cards)
    command = ["benchmark", "--sample", sample, "--pipelines", "latentsync", "--output", str(tmp_path / "out")]
    assert main([*command, "--", "--steps", "3"]) == 0
    rows = load_benchmark(tmp_path / "out").rows
    assert {(key.gpu, key.speed) for key in rows} == {
        (gpu, speed) for gpu in ("0: NVIDIA A", "1: NVIDIA B") for speed in SPEEDS
    }
    assert {(visible, tuple(gpus)) for visible, gpus, _ in seen} == {("0", (0,)), ("1", (1,))}
    assert all(arguments[-2:] == ["--steps", "3"] for *_, arguments in seen)
    assert all(row.figures["peak_gpu_mb"] == 9000 for row in rows.values())


def test_a_job_that_fails_is_marked_and_run_again(
    monkeypatch: pytest.MonkeyPatch, sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row holds the job's own line; the benchmark goes on, and its exit code says so."""
    command = ["benchmark", "--sample", sample, "--pipelines", "mouth-motion", "--output", str(tmp_path / "out")]
    passed_on = ["--", "--url", "127.0.0.1:1"]
    assert main([*command, *passed_on]) == 1
    (row,) = load_benchmark(tmp_path / "out").rows.values()
    assert "expected a running Triton, got no connection" in row.note
    assert main([*command, *passed_on]) == 1
    assert "1 rows, 0 measured already" in capsys.readouterr().err


def test_a_sample_that_is_not_there_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """The missing file is named."""
    with pytest.raises(SystemExit):
        main(["benchmark", "--sample", "x=/no/video.mp4,/no/speech.wav"])
    assert "/no/video.mp4: expected a file, got none" in capsys.readouterr().err


SMI = """#!/bin/sh
case "$1" in
--query-compute-apps=*) for folder in /proc/[0-9]*; do echo "${folder#/proc/}, 100"; done ;;
--query-gpu=memory.used) echo 1000 ;;
*) echo GPU-aaaa1111 ;;
esac
"""


def test_memory_of_a_running_server_is_added_up(
    monkeypatch: pytest.MonkeyPatch, sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all its processes, and of no others; above the limit the exit code says so."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    files = sample.partition("=")[2].split(",")
    seen = []
    real = server_memory.process_memory_mb
    monkeypatch.setattr(server_memory, "process_memory_mb", lambda pids: seen.append(len(pids)) or real(pids))
    assert main(["server-memory", *files, "--limit-gib", "0.01", "--model", "mouth-motion"]) == 1
    line = capsys.readouterr().out
    said = re.fullmatch(r"torch_low_memory: ([\d.]+) GiB at the peak, of all its processes; limit .*\n", line)
    assert said is not None
    processes = float(said[1]) * 1024 / 100
    assert 5 < processes <= max(seen) + 0.1  # tritonserver and the stubs of its models, and nothing else here


def test_memory_of_the_card_counts_where_no_process_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: what its use grew by."""
    used = iter([1000.0, 3000.0, 2000.0])
    monkeypatch.setattr(server_memory, "card_memory_mb", lambda _: next(used))
    monkeypatch.setattr(server_memory, "process_memory_mb", lambda _: 0.0)
    sampler = server_memory.ServerMemorySampler(list, "GPU-aaaa1111")
    sampler.look()
    sampler.look()
    assert sampler.mb == 2000
    assert sampler.source == "by which the use of the card grew"


def test_memory_fails_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything starts."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["server-memory", *sample.partition("=")[2].split(",")]) == 1
    assert "perf server-memory: GPU: expected one that nvidia-smi shows, got none" in capsys.readouterr().err
