from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from perf.load import perf_analyzer
from perf.load.perf_analyzer import (
    AnalyzerFailed,
    PerfAnalyzer,
    SampleRequest,
    find_perf_analyzer,
    read_figures,
    spread,
)
from perf.load.results import Load
from tests.perf_fakes import write_analyzer

LOAD = Load("faces", 1, "grpc", "concurrency", 2)
REQUEST = SampleRequest({"frames": np.ones((1, 2, 2, 3), np.uint8)}, is_batched=False, output_bytes=4)
REPORT = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,p50 latency,p95 latency\n"
    "2,57.6,22,1463,3,30896,55043\n"
)
OUTPUT = "".join(
    f"  Pass [{i}] throughput: {rate} infer/sec. Avg latency: 1 usec\n" for i, rate in enumerate((50, 60, 70))
)


def test_figures_are_named_and_in_milliseconds() -> None:
    """Microseconds become milliseconds under our names, and the windows give the spread."""
    figures = read_figures(REPORT, OUTPUT)
    assert figures["inferences_per_s"] == 57.6
    assert figures["p95_ms"] == 55.043
    assert figures["network_ms"] == 1.463
    assert figures["spread"] == pytest.approx(20 / 60, abs=1e-4)  # rounded to four places


def test_spread_of_equal_windows_is_nothing() -> None:
    """Windows that agree have no spread, and no windows neither."""
    assert spread([5.0, 5.0, 5.0]) == 0
    assert spread([]) == 0


def test_an_empty_report_fails_in_one_line() -> None:
    """A report without a row, or with no throughput, is no result."""
    for report in ("", REPORT.splitlines()[0] + "\n", REPORT.replace("57.6", "0")):
        with pytest.raises(AnalyzerFailed, match="expected a row of figures, got an empty report"):
            read_figures(report, OUTPUT)


def test_a_run_gives_figures(tmp_path: Path) -> None:
    """The binary's figures come back for the load that was asked for."""
    analyzer = PerfAnalyzer(write_analyzer(tmp_path), ())
    assert analyzer.measure("127.0.0.1:1", LOAD, REQUEST, 0.1)["inferences_per_s"] == 101


def test_a_crash_fails_with_its_own_words(tmp_path: Path) -> None:
    """An error of the binary, and a signal that ends it, are told in one line."""
    analyzer = PerfAnalyzer(write_analyzer(tmp_path / "a", "sys.exit('error: no such model')"), ())
    with pytest.raises(AnalyzerFailed, match="perf_analyzer: exit code 1: no such model"):
        analyzer.measure("127.0.0.1:1", LOAD, REQUEST, 0.1)
    killed = PerfAnalyzer(write_analyzer(tmp_path / "b", "import os; os.kill(os.getpid(), 9)"), ())
    with pytest.raises(AnalyzerFailed, match="killed by signal 9"):
        killed.measure("127.0.0.1:1", LOAD, REQUEST, 0.1)


def test_a_killed_run_leaves_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions are named after tensors: those that came with the run go, others and older ones stay."""
    monkeypatch.setattr(perf_analyzer, "SHARED_MEMORY", tmp_path)
    (tmp_path / "frames_1_0").touch()
    names = ("frames_0_0", "synced_frames", "another")
    body = f"import os, pathlib; [pathlib.Path({str(tmp_path)!r}, name).touch() for name in {names}]; os.abort()"
    analyzer = PerfAnalyzer(write_analyzer(tmp_path / "bin", body), ())
    request = dataclasses.replace(REQUEST, outputs=("synced_frames",))
    with pytest.raises(AnalyzerFailed, match="killed by signal 6"):
        analyzer.measure("127.0.0.1:1", LOAD, request, 0.1)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"frames_1_0", "another"}


def test_a_missing_binary_fails_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nowhere to be found: the message names the command that fetches it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(perf_analyzer, "FOLDER", tmp_path)
    monkeypatch.setattr(perf_analyzer.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match=r"expected it on PATH.*python -m perf install-perf-analyzer"):
        find_perf_analyzer()


def test_a_binary_without_its_libraries_fails_with_what_to_install(tmp_path: Path) -> None:
    """The loader's complaint is passed on with the packages that help."""
    body = "sys.exit('error while loading shared libraries: libb64.so.0d')"
    path = write_analyzer(tmp_path)
    path.write_text(path.read_text().replace("arguments = sys.argv[1:]", body))
    with pytest.raises(ValueError, match=r"expected its libraries.*libb64\.so\.0d.*apt-get install libb64-0d"):
        _ = PerfAnalyzer(path, ()).version
