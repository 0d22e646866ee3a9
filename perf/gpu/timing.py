"""Times functions on a device within a limited time, and collects the figures. Does not depend on a network."""

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
TIMED_S = 4.0  # after warm-up, no variant runs for longer

Row = dict[str, float | str | None]


@dataclass
class Profile:
    """What is measured, on what device, and the figures so far.

    Attributes:
        device: The device that is measured.
        size: The size of networks and chunks.
        mode: Compile mode of torch; "eager" leaves the compiled variants out.
        budget_s: No part starts after this time, in seconds.
        begin: Start of the profile, on the clock of `time.perf_counter`.
        peak: Measured peak of matrix products, in FLOP/s; 0 before it is measured.
        on_row: Called with each row as soon as it is there.
        rows: The table.
        left_out: What was not measured and why, a line each.
        wrong: Which results were wrong, a line each.
    """

    device: torch.device
    size: Size
    mode: str
    budget_s: float
    begin: float = field(default_factory=time.perf_counter)
    peak: float = 0.0
    on_row: Callable[[Row], None] | None = None
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def card(self) -> str:
        """Name of the GPU, or of the CPU."""
        return card_name(self.device)

    @property
    def half(self) -> str:
        """The half precision that is served on this device."""
        return "bf16" if self.device.type == "cpu" else "fp16"

    @property
    def vae_images(self) -> int:
        """Number of images in a call of the VAE."""
        return SMALL_VAE_IMAGES if self.size.small else VAE_IMAGES

    @property
    def seconds_left(self) -> float:
        """Time that is left, in seconds."""
        return self.budget_s - (time.perf_counter() - self.begin)

    def describe(self) -> None:
        """Print what will be measured."""
        kind = "small" if self.size.small else "full-size"
        print(f"{kind} networks, synthetic weights, {self.size.frames} frames a chunk, on {self.card}", flush=True)

    def run(self, name: str, part: Callable[[], None]) -> None:
        """Measure one part, unless the time is up; if it runs out of memory, the others go on."""
        if self.seconds_left <= 0:
            self.left_out.append(f"not measured: {name} (no time left)")
            return
        try:
            part()
        except torch.OutOfMemoryError as error:
            self.left_out.append(f"not measured: {name} (GPU memory: {str(error).splitlines()[0][:120]})")
        self.forget()

    def add(self, what: str, variant: str, **figures: float | str | None) -> None:
        """Add a row to the table, and print it at once, in case the run is cut short."""
        row: Row = {"what": what, "variant": variant, **figures}
        self.rows.append(row)
        if self.on_row is not None:
            self.on_row(row)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items() if isinstance(value, float))
        print(f"[{time.perf_counter() - self.begin:6.1f} s] {what}, {variant}: {shown}", flush=True)

    def skip(self, what: str, reason: str) -> None:
        """Note something that is not measured."""
        self.left_out.append(f"not measured: {what} ({reason})")

    def sync(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget(self) -> None:
        """Free unused memory and reset the peak."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float | None:
        """Return the most memory that torch held since `forget`, free blocks included, in GiB; None on a CPU."""
        return torch.cuda.max_memory_reserved(self.device) / GIB if self.device.type == "cuda" else None

    def time(self, run: Callable[[], Any]) -> list[float]:
        """Run a function a few times after warming up; returns the seconds of each run."""
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
        """Turn the seconds of runs into columns of the table."""
        median = statistics.median(seconds)
        rate = flops / median
        return {"ms": 1e3 * median, "tflops": rate / 1e12, "of_peak": rate / self.peak if self.peak else None}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the root mean square error in standard deviations of the expected values."""
    reference = expected.double().cpu()
    return float((found.double().cpu() - reference).square().mean().sqrt() / reference.std())


def settings(profile: Profile, precision: str, mode: str, *, graph: bool) -> ProgramSettings:
    """Return how networks run: as served, with the channels last in half precision."""
    graph = graph and profile.device.type == "cuda"
    return ProgramSettings(precision, mode, "", "eager", graph, channels_last=precision != "fp32")
