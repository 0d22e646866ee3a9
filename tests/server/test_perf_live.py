"""Live streams measured through a real tritonserver."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perf.__main__ import main
from perf.live import command
from perf.live.clip import FPS, utterances_of
from perf.live.command import build_parser, open_target
from perf.live.measure import Target, measure
from perf.live.rows import Key, load_live
from perf.machine.gpu import GpuUse
from tests.server.clips import SPEECH

pytestmark = pytest.mark.server
SECONDS = 5.0
PIPELINE = build_parser().get_default("pipeline")


@pytest.fixture(scope="module")
def target(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of the command's own, with its clip."""
    options = build_parser().parse_args(["--model-repository", str(model_repository)])
    with open_target(options, tmp_path_factory.mktemp("clip")) as up:
        yield up


def test_a_row_has_all_figures_of_streams_in_real_time(target: Target) -> None:
    """First frames, lateness and skew; processor and memory of the server."""
    row = measure(target, Key(PIPELINE, "real_time", 1), utterances_of(SPEECH), SECONDS)
    assert row.status in ("in real time", "behind"), row.note
    assert 0 < row.figures["pictures"] <= (SECONDS + 2) * FPS
    assert row.figures["utterances"] == 1
    assert row.figures["first_p50_ms"] > 0
    assert 0 <= row.figures["late_p50_ms"] <= row.figures["late_p99_ms"]
    assert 0 < row.figures["server_cores"] < 8
    assert row.figures["server_memory_mb"] > 50
    assert "times_real_time" not in row.figures


def test_the_fastest_pace_has_speed_and_memory(target: Target) -> None:
    """And no times of speakers, which there are not."""
    watched = replace(target, gpu_look=lambda: [GpuUse(50.0, 1000.0, 100.0)])
    row = measure(watched, Key(PIPELINE, "fast", 2), utterances_of(SPEECH), 2.0)
    assert row.status == "done", row.note
    assert row.figures["times_real_time"] > 0
    assert row.figures["held"] == row.figures["left_out"] == row.figures["skew_ms"] == 0
    assert row.figures["gpu_utilization"] == 50
    assert "first_p95_ms" not in row.figures
    assert len(row.memory) >= 2


def test_rows_are_written_as_they_come(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that is refused is told in its row; older results are kept."""
    monkeypatch.setattr(command, "WARM_UP_S", 0.1)
    words = ["live", "--url", target.url, "--pace", "fast", "--seconds", "1", "--output", str(tmp_path)]
    assert main([*words, "--sessions", "1,2"]) == 0
    assert [row.status for row in load_live(tmp_path).rows.values()] == ["done", "done"]
    assert main([*words, "--sessions", "1", "--clip", "absent"]) == 1
    (row,) = load_live(tmp_path).rows.values()
    assert row.status == "failed"
    assert "no such clip" in row.note
    assert "no such clip" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*results.json"))) == 2
    (written,) = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    assert written["sessions"] == "1"
