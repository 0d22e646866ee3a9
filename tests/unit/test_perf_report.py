from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="no matplotlib; run: make test")

from perf.__main__ import main
from perf.jobs.benchmark_rows import Benchmark, Key, Row, load_benchmark, published_rows
from perf.load.results import Load, Point, Results, Work
from perf.reporting.page import Paragraph, Picture, Table, as_html, as_markdown
from perf.reporting.sweep_part import choose
from tests.perf_fakes import CONDITIONS, measured, sweep_results

CRASHED = Load("faces", 16, "shm", "concurrency", 4)


def written_sweep(folder: Path) -> Path:
    results = sweep_results()
    results.work["face_detector"] = Work(61.5e6, 0.4e6, 0.11e6)
    results.points[CRASHED] = Point(CRASHED, "crashed", "2026-01-01T00:00:00+00:00", "killed by signal 9")
    results.save(folder)
    return folder


def written_benchmark(folder: Path, seconds: float = 7.0) -> Path:
    key = Key("wav2lip", "CPU", "demo", "exact")
    figures = {"time_sec": seconds, "video_s": 10.0, "seconds_per_second": seconds / 10, "fps": 250 / seconds}
    row = Row(key, "v.mp4", "a.wav", "2026-01-01T00:00:00+00:00", "", {**figures, "spread": 0.0}, {"decode": 2.0})
    failed = Row(Key("latentsync", "CPU", "demo", "exact"), "v.mp4", "a.wav", "2026-01-01T00:00:00+00:00", "no memory")
    Benchmark({**CONDITIONS, "options": ""}, {row.key: row, failed.key: failed}).save(folder)
    return folder


def test_a_report_is_one_page_with_everything(tmp_path: Path) -> None:
    """The HTML needs no other file; tables, plots, crashed points and published figures are in it."""
    paths = [written_sweep(tmp_path / "sweep"), written_benchmark(tmp_path / "benchmark")]
    assert main(["report", *map(str, paths), "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<img src=") >= 6
    for expected in ("a processor", "killed by signal 9", "NVIDIA H100", "no memory", "Roofline", "0123456789ab"):
        assert expected in page
    markdown = (tmp_path / "report" / "report.md").read_text()
    for name in re.findall(r"\]\((pictures/[^)]+)\)", markdown):
        assert (tmp_path / "report" / name).stat().st_size > 1000


def test_empty_results_fail_with_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing measured, nothing there, and another kind of file: one line each."""
    empty = Results(dict(CONDITIONS))
    empty.points[CRASHED] = Point(CRASHED, "crashed", "2026-01-01T00:00:00+00:00", "killed")
    empty.save(tmp_path / "empty")
    Benchmark(dict(CONDITIONS)).save(tmp_path / "none")
    (tmp_path / "list.json").write_text("[]")
    for path, words in (
        ("empty", "expected at least one measured point, got none. Run: python -m perf sweep"),
        ("none", "expected at least one measured row, got none. Run: python -m perf benchmark"),
        ("absent", "expected results, got No such file"),
        ("list.json", "expected results of a sweep, a benchmark or live streams, got other JSON"),
    ):
        assert main(["report", str(tmp_path / path), "--output", str(tmp_path / "report")]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_suggested_load_is_the_quickest_that_is_nearly_best() -> None:
    """Among loads within a tenth of the best throughput, the shortest 95th percentile wins; unstable ones do not."""
    near = measured(Load("faces", 8, "grpc", "concurrency", 1), 95)
    best = measured(Load("faces", 16, "grpc", "concurrency", 4), 100)
    small = measured(Load("faces", 1, "grpc", "concurrency", 1), 50)
    wild = Point(Load("faces", 16, "shm", "concurrency", 4), "unstable", "", "", {**best.figures, "items_per_s": 400.0})
    choice = choose([near, best, small, wild])
    assert choice is not None
    assert (choice.best, choice.suggested) == (best, near)
    assert choose([]) is None


def test_a_page_escapes_what_it_shows() -> None:
    """Markup and column marks in texts stay texts."""
    blocks = [Paragraph("a < b"), Table(("x|y",), [("<b>",)]), Picture("p", b"png", 'a "quoted" caption')]
    page = as_html("t", blocks)
    assert "a &lt; b" in page
    assert "<td>&lt;b&gt;</td>" in page
    assert 'alt="a &quot;quoted&quot; caption"' in page
    assert "x\\|y" in as_markdown("t", blocks)


def test_every_published_row_names_its_source() -> None:
    """Published figures stand with their source, and agree with themselves."""
    for row in published_rows():
        assert "published by the predecessor web service" in row.note
        assert row.seconds_per_second == pytest.approx(row.figures["time_sec"] / row.figures["video_s"], abs=0.005)


def test_benchmark_rows_come_back_and_begin_with_the_published_columns(tmp_path: Path) -> None:
    """The CSV starts with the predecessor's columns; the JSON is read back whole."""
    folder = written_benchmark(tmp_path)
    assert (folder / "results.csv").read_text().startswith("pipeline,gpu,sample,video,audio,time_sec,")
    assert {str(key) for key in load_benchmark(folder).rows} == {
        "wav2lip (exact), CPU, demo",
        "latentsync (exact), CPU, demo",
    }


def test_a_comparison_marks_changes_beyond_the_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the speed is slower, the same is the same, and a small change of noisy points is none."""
    sweep_results().save(tmp_path / "before")
    sweep_results(0.5, commit="another").save(tmp_path / "slow")
    sweep_results(0.85, spread=0.4).save(tmp_path / "noisy")
    assert main(["compare", str(tmp_path / "before"), str(tmp_path / "slow"), "--fail-on-slower"]) == 3
    assert "12 slower" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "slow"), str(tmp_path / "before")]) == 0
    assert "12 faster" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "before"), str(tmp_path / "noisy"), "--fail-on-slower"]) == 0
    assert "12 same" in capsys.readouterr().out
    report = ["report", str(tmp_path / "slow"), "--baseline", str(tmp_path / "before")]
    assert main([*report, "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count('<tr class="bad">') == 12
    assert "Conditions that differ" in page


def test_results_without_a_common_point_fail_to_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Different kinds, and different loads, are told apart in one line."""
    sweep_results().save(tmp_path / "sweep")
    written_benchmark(tmp_path / "benchmark")
    assert main(["compare", str(tmp_path / "sweep"), str(tmp_path / "benchmark")]) == 1
    assert "expected results of a sweep as in" in capsys.readouterr().err
    load = Load("latentsync_unet", 1, "shm", "concurrency", 1)
    Results(dict(CONDITIONS), {load: measured(load, 1.0)}).save(tmp_path / "other")
    assert main(["compare", str(tmp_path / "sweep"), str(tmp_path / "other")]) == 1
    assert "measured again, got none" in capsys.readouterr().err
