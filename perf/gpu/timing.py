"""Timing on a device within a limited time, and the rows that come of it. Knows no network."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lipsync_core.programs.device import GIB, card_name
from lipsync_core.programs.settings import ProgramSettings
from perf.gpu.networks import Size

COLUMNS = ("what", "variant", "rows", "ms", "p95_ms", "tflops", "of_peak", "s_per_s", "error", "peak_gib")
VIDEO_FPS = 25.0
VAE_IMAGES, SMALL_VAE_IMAGES = 8, 2  # per call of the VAE; 8 as served
WARM_UP_RUNS, RUNS, SMALL_RUNS = 2, 5, 2
TIMED_S = 4.0  # no variant is run for longer, once it is warm

Row = dict[str, float | str | None]


@dataclass
class Profile:
    """What is measured, on what, and what has come of it so far.

    Attributes:
        device: where.
        size: of networks and chunks.
        mode: how torch compiles; eager leaves the compiled variants out.
        budget_s: after this, no part begins.
        peak: of matrix products, in FLOP/s; 0 before it is measured.
        rows: the table.
        left_out: lines that say what was not measured, and why.
        wrong: lines that say which results were wrong.
    """

    device: torch.device
    size: Size
    mode: str
    budget_s: float
    begin: float = field(default_factory=time.perf_counter)
    peak: float = 0.0
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def card(self) -> str:
        """The processor that is measured."""
        return card_name(self.device)

    @property
    def half(self) -> str:
        """The half precision that is served."""
        return "bf16" if self.device.type == "cpu" else "fp16"

    @property
    def vae_images(self) -> int:
        """Number of images in a call of the VAE."""
        return SMALL_VAE_IMAGES if self.size.small else VAE_IMAGES

    @property
    def seconds_left(self) -> float:
        """What is left of the time."""
        return self.budget_s - (time.perf_counter() - self.begin)

    def describe(self) -> None:
        """Say what will be measured."""
        kind = "small" if self.size.small else "full-size"
        print(f"{kind} networks, made-up weights, {self.size.frames} frames a chunk, on {self.card}", flush=True)

    def run(self, name: str, part: Callable[[], None]) -> None:
        """Measure one part, unless the time is up; memory that does not suffice ends the part alone."""
        if self.seconds_left <= 0:
            self.left_out.append(f"not measured: {name} (no time left)")
            return
        try:
            part()
        except torch.OutOfMemoryError as error:
            self.left_out.append(f"not measured: {name} (GPU memory: {str(error).splitlines()[0][:120]})")
        self.forget()

    def add(self, what: str, variant: str, **figures: float | str | None) -> None:
        """Add a row to the table, and print it as it comes: a run that is cut off has shown something."""
        row: Row = {"what": what, "variant": variant, **figures}
        self.rows.append(row)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items() if isinstance(value, float))
        print(f"[{time.perf_counter() - self.begin:6.1f} s] {what}, {variant}: {shown}", flush=True)

    def skip(self, what: str, reason: str) -> None:
        """Note what is not measured."""
        self.left_out.append(f"not measured: {what} ({reason})")

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget(self) -> None:
        """Give unused memory back, and count peaks anew."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float | None:
        """Say the most memory that tensors took since `forget`; unknown on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / GIB if self.device.type == "cuda" else None

    def time(self, run: Callable[[], Any]) -> list[float]:
        """Run a few times after warming up, and return each run's seconds."""
        for _ in range(0 if self.size.small else WARM_UP_RUNS):
            run()
        self.sync()
        seconds: list[float] = []
        while len(seconds) < (SMALL_RUNS if self.size.small else RUNS) and sum(seconds) < TIMED_S:
            begin = time.perf_counter()
            run()
            self.sync()
            seconds.append(time.perf_counter() - begin)
        return seconds

    def rate(self, flops: float, seconds: Sequence[float]) -> dict[str, float | str | None]:
        """Turn seconds of runs into the table's figures."""
        median = statistics.median(seconds)
        rate = flops / median
        return {"ms": 1e3 * median, "tflops": rate / 1e12, "of_peak": rate / self.peak if self.peak else None}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Say how far values are from what is expected: root mean square, in standard deviations of that."""
    reference = expected.double().cpu()
    return float((found.double().cpu() - reference).square().mean().sqrt() / reference.std())


def settings(profile: Profile, precision: str, mode: str, *, graph: bool) -> ProgramSettings:
    """Choose how networks run; channels last as served, where it counts."""
    graph = graph and profile.device.type == "cuda"
    return ProgramSettings(precision, mode, "", "eager", graph, channels_last=precision != "fp32")
