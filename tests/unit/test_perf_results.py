from __future__ import annotations

import csv
from pathlib import Path

import pytest

from perf.load.results import Load, Point, load_results
from perf.result_files import CSV_FILE, JSON_FILE
from tests.perf_fakes import sweep_results


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    """Points, steps and conditions survive the file, crashed ones too."""
    results = sweep_results()
    load = Load("latentsync_unet", 1, "shm", "rate", 2.5)
    results.points[load] = Point(load, "crashed", "2026-01-01T00:00:00+00:00", "killed by signal 9")
    results.save(tmp_path)
    again = load_results(tmp_path)
    assert again.points == results.points
    assert again.conditions == results.conditions


def test_every_row_of_the_table_names_its_conditions(tmp_path: Path) -> None:
    """The CSV has one row per point, with machine, GPU, driver, Triton, flavour, commit and time."""
    results = sweep_results()
    results.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / CSV_FILE).read_text().splitlines()))
    assert len(rows) == len(results.points)
    for row in rows:
        assert {"machine", "gpus", "driver", "triton", "flavour", "commit", "time", "status"} <= set(row)
        assert row["commit"] == "0123456789ab"


def test_other_files_fail_with_what_they_are(tmp_path: Path) -> None:
    """No file, no JSON and another kind of results are told apart."""
    with pytest.raises(ValueError, match="expected results, got No such file"):
        load_results(tmp_path)
    (tmp_path / JSON_FILE).write_text("{")
    with pytest.raises(ValueError, match="expected results as JSON"):
        load_results(tmp_path)
    (tmp_path / JSON_FILE).write_text('{"kind": "benchmark"}')
    with pytest.raises(ValueError, match="got those of a benchmark"):
        load_results(tmp_path)
    (tmp_path / JSON_FILE).write_text('{"kind": "sweep", "conditions": {}, "points": [{}]}')
    with pytest.raises(ValueError, match="expected results of a sweep, got 'steps'"):
        load_results(tmp_path)
