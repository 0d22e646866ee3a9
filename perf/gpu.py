"""NVIDIA GPUs as nvidia-smi sees them: which there are, and how busy and full they get. Nothing without a driver."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

QUERY_TIMEOUT_S = 10.0
SAMPLE_INTERVAL_S = 0.5
MIB = 1 << 20
MB = 1_000_000


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine."""

    index: int
    name: str
    memory_mb: float
    driver: str


@dataclass(frozen=True)
class GpuUse:
    """One look at a GPU."""

    utilization: float  # percent
    memory_mb: float
    power_w: float


def list_gpus() -> list[Gpu]:
    """List this machine's GPUs, those that CUDA_VISIBLE_DEVICES hides left out; none without nvidia-smi."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    rows = _query("index,name,memory.total,driver_version", None)
    gpus = [Gpu(int(index), name, _megabytes(memory), driver) for index, name, memory, driver in rows]
    if visible is None:
        return gpus
    return [gpu for gpu in gpus if str(gpu.index) in visible.split(",")]


def gpu_use(index: int) -> GpuUse | None:
    """Look at a GPU; None when it cannot be seen."""
    rows = _query("utilization.gpu,memory.used,power.draw", index)
    if not rows:
        return None
    utilization, memory, power = rows[0]
    return GpuUse(_number(utilization), _megabytes(memory), _number(power))


class GpuSampler:
    """Looks at GPUs in a thread while its context is open; does nothing where there are none."""

    def __init__(self, indices: Sequence[int]) -> None:
        """Choose the GPUs."""
        self._indices = indices
        self._samples: list[GpuUse] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="gpu-sampler")

    def __enter__(self) -> GpuSampler:
        """Begin to look."""
        if self._indices:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._done.set()
        if self._indices:
            self._thread.join()

    @property
    def figures(self) -> dict[str, float]:
        """Mean use and power, largest memory of any of the GPUs; empty without samples."""
        if not self._samples:
            return {}
        count = len(self._samples)
        return {
            "gpu_utilization": round(sum(sample.utilization for sample in self._samples) / count, 1),
            "gpu_memory_mb": max(sample.memory_mb for sample in self._samples),
            "gpu_power_w": round(sum(sample.power_w for sample in self._samples) / count, 1),
        }

    def _look(self) -> None:
        while True:
            seen = (gpu_use(index) for index in self._indices)
            self._samples += [use for use in seen if use is not None]
            if self._done.wait(SAMPLE_INTERVAL_S):
                return


def _query(fields: str, index: int | None) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    command += [] if index is None else [f"--id={index}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _megabytes(mebibytes: str) -> float:
    return round(_number(mebibytes) * MIB / MB, 1)


def _number(text: str) -> float:
    """Read a figure; cards that do not report one say [N/A]."""
    try:
        return float(text)
    except ValueError:
        return 0.0
