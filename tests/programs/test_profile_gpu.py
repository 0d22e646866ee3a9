from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from perf.gpu import profile as profile_gpu  # noqa: E402
from perf.gpu.checks import BOUNDS  # noqa: E402
from perf.gpu.networks import Size, build_unet, chunk_inputs, count_flops  # noqa: E402
from perf.gpu.timing import Profile, relative_error  # noqa: E402

SMALL = Size(small=True, frames=2)


def profile(minutes: float = 1.0) -> Profile:
    return Profile(torch.device("cpu"), SMALL, "eager", 60 * minutes)


@pytest.mark.long
def test_the_profile_runs_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Small networks on the CPU: checks, speeds, several chunks at once and low memory; a table last, and a CSV."""
    path = tmp_path / "figures.csv"
    arguments = ["--size", "small", "--device", "cpu", "--parts", "speeds", "low_memory", "--csv", str(path)]
    assert profile_gpu.main([*arguments, "--minutes", "60"]) == 0  # a busy machine may need more than the default
    with path.open(newline="") as file:
        rows = {row["what"]: row for row in csv.DictReader(file)}
    for speed in ("exact", "cached", "fast", "preview"):
        assert float(rows[f"chunk, 64, {speed}"]["s_per_s"]) > 0
    assert float(rows["2 chunks at once, 64, cached"]["p95_ms"]) >= float(rows["2 chunks at once, 64, cached"]["ms"])
    assert float(rows["check: small UNet"]["error"]) < BOUNDS["bf16"]
    assert "low memory, 64, cached" in rows
    lines = capsys.readouterr().out.splitlines()
    table = next(place for place, line in enumerate(lines) if line.startswith("what"))
    assert len(lines) - table - 1 >= len(rows)


def test_parts_are_planned_by_importance() -> None:
    """All of the first size of faces, then what differs in the others."""
    planned = profile_gpu.plan(None, [512, 256])
    assert planned[0] == ("unet", 512)
    assert [part for part, edge in planned if edge == 512] == list(profile_gpu.PARTS)
    assert [part for part, edge in planned if edge == 256] == list(profile_gpu.EACH_EDGE)
    assert profile_gpu.plan(["vae", "unet"], [256]) == [("vae", 256), ("unet", 256)]


def test_a_part_fails_alone() -> None:
    """No time left, or too little memory, is noted; the next part goes on."""
    late = profile(minutes=0)
    late.run("unet, 512", lambda: pytest.fail("began too late"))
    assert late.left_out == ["not measured: unet, 512 (no time left)"]

    def too_large() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    short = profile()
    short.run("unet, 512", too_large)
    assert short.left_out == ["not measured: unet, 512 (GPU memory: CUDA out of memory. Tried to allocate 2 GiB.)"]


def test_wrong_networks_fail_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bound that is not held ends the profile."""
    monkeypatch.setitem(BOUNDS, "bf16", 1e-9)
    assert profile_gpu.main(["--size", "small", "--device", "cpu"]) == profile_gpu.EXIT_WRONG
    out = capsys.readouterr().out
    assert "WRONG: small UNet, bf16 against CPU fp32: expected within 1e-09 standard deviations" in out
    assert "TFLOP/s measured" in out
    assert "chunk, 64" not in out


def stand_in(monkeypatch: pytest.MonkeyPatch, part: Callable[[Profile], None]) -> None:
    """Put one part in the place of all that is measured."""
    monkeypatch.setattr(profile_gpu, "measure", lambda profile, parts, edges: part(profile))


def read_rows(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["what"] for row in csv.DictReader(file)]


def test_figures_are_written_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interruption, as by Ctrl-C or a time limit, leaves the rows so far and their table."""
    path = tmp_path / "figures.csv"

    def part(running: Profile) -> None:
        running.add("first", "fp16", ms=1.5)
        assert read_rows(path) == ["first"]
        raise KeyboardInterrupt

    stand_in(monkeypatch, part)
    with pytest.raises(KeyboardInterrupt):
        profile_gpu.main(["--size", "small", "--device", "cpu", "--csv", str(path)])
    table = capsys.readouterr().out.partition("\nwhat")[2]
    assert "first" in table
    assert "1.5" in table


def test_a_part_that_outruns_the_time_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table comes before any limit of ten minutes, with what was measured until then."""

    def part(running: Profile) -> None:
        running.add("first", "fp16", ms=1.5)
        time.sleep(30)

    stand_in(monkeypatch, part)
    monkeypatch.setattr(profile_gpu, "OVERRUN_S", 0.1)
    assert profile_gpu.main(["--size", "small", "--device", "cpu", "--minutes", "0"]) == 0
    table = capsys.readouterr().out.partition("\nwhat")[2]
    assert "first" in table
    assert "not measured: what was under way, and all after it (the time is up)" in table
    longest_s = 60 * profile_gpu.build_parser().parse_args([]).minutes + 120
    assert longest_s < 600


def test_profile_fails_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert profile_gpu.main([]) == profile_gpu.EXIT_WRONG
    assert "perf profile-gpu: GPU: expected" in capsys.readouterr().err


def test_made_up_weights_spread_as_the_recipes() -> None:
    """Outputs of the size of trained ones: nothing overflows that would not."""
    unet = build_unet(SMALL, torch.device("cpu"))
    inputs = chunk_inputs(SMALL, 64, 1, torch.device("cpu"))
    with torch.inference_mode():
        noise_pred = unet(*inputs)[0]
    assert 0.2 < noise_pred.std() < 5


def test_peak_memory_is_what_the_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch keeps reserved counts too: others cannot have it."""
    on_gpu = profile()
    on_gpu.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 2 << 30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 3 << 30)
    assert on_gpu.peak_gib() == 3.0


def test_errors_are_relative() -> None:
    """To the spread of what is expected, over all values."""
    values = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert relative_error(values, values) == 0
    assert relative_error(values + 0.1, values) == pytest.approx(0.1 / values.std().item())


def test_work_is_counted() -> None:
    """A multiplication and an addition for each weight that a row meets."""
    layer = torch.nn.Linear(8, 16, device="meta")
    assert count_flops(layer, [torch.ones(3, 8)]) == 2 * 3 * 8 * 16
