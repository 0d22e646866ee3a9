"""NVIDIA GPUs of this machine, and their use while something runs, from nvidia-smi or from Triton's metrics."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from lipsync_core.serving.endpoints import is_loopback
from perf.machine.sampler import Sampler

QUERY_TIMEOUT_S = 10.0
SAMPLE_INTERVAL_S = 0.5
MIB = 1 << 20
MB = 1_000_000

# nv_gpu_memory_used_bytes{gpu_uuid="GPU-..."} 1048576.000000
METRIC = re.compile(
    r'^nv_gpu_(utilization|memory_used_bytes|power_usage)\{gpu_uuid="([^"]+)"\} ([\d.e+]+)$', re.MULTILINE
)


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine."""

    index: int
    name: str
    memory_mb: float
    driver: str


@dataclass(frozen=True)
class GpuUse:
    """One sample of a GPU's use."""

    utilization: float  # percent
    memory_mb: float
    power_w: float


Look = Callable[[], list[GpuUse]]


def list_gpus() -> list[Gpu]:
    """Return the GPUs of this machine that CUDA_VISIBLE_DEVICES does not hide; none without nvidia-smi."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    rows = _query("index,uuid,name,memory.total,driver_version", None)
    return [
        Gpu(int(index), name, _megabytes(memory), driver)
        for index, uuid, name, memory, driver in rows
        if visible is None or _is_named(index, uuid, visible)
    ]


def local_look(indices: Sequence[int]) -> Look:
    """Return a function that samples GPUs of this machine, by nvidia-smi; unknown indices are left out."""

    def look() -> list[GpuUse]:
        rows = [row for index in indices for row in _query("utilization.gpu,memory.used,power.draw", index)]
        return [GpuUse(_number(busy), _megabytes(memory), _number(power)) for busy, memory, power in rows]

    return look


def process_memory_mb(pids: Collection[int]) -> float:
    """Return the GPU memory of processes, in MB; 0 if nvidia-smi lists none of them, as in many containers."""
    rows = _ask("--query-compute-apps=pid,used_gpu_memory")
    return sum(_megabytes(memory) for pid, memory in rows if pid.isdecimal() and int(pid) in pids)


def card_memory_mb(gpu: str) -> float:
    """Return the memory in use on a GPU, by whomever, in MB; 0 without nvidia-smi."""
    return sum(_megabytes(row[0]) for row in _ask("--query-gpu=memory.used", f"--id={gpu}"))


def metrics_look(url: str) -> Look:
    """Return a function that samples the GPUs of a Triton through its metrics endpoint at HOST:PORT."""
    is_here = is_loopback(url.rpartition(":")[0])
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_here else []))

    def look() -> list[GpuUse]:
        try:
            with opener.open(f"http://{url}/metrics", timeout=QUERY_TIMEOUT_S) as answer:
                return read_metrics(answer.read().decode())
        except (OSError, http.client.HTTPException):
            return []

    return look


def read_metrics(text: str) -> list[GpuUse]:
    """Read the use of each GPU from Triton's metrics, which give utilization as a fraction and memory in bytes."""
    found = {(name, uuid): float(value) for name, uuid, value in METRIC.findall(text)}
    return [
        GpuUse(
            utilization=100 * found.get(("utilization", uuid), 0.0),
            memory_mb=round(found.get(("memory_used_bytes", uuid), 0.0) / MB, 1),
            power_w=found.get(("power_usage", uuid), 0.0),
        )
        for uuid in dict.fromkeys(uuid for _, uuid in found)
    ]


class GpuSampler(Sampler):
    """Samples GPUs while its context is open."""

    def __init__(self, look: Look | None) -> None:
        """Choose how to sample; None samples nothing."""
        super().__init__()
        self._ask = look or (lambda: [])
        self._samples: list[GpuUse] = []

    def look(self) -> float:
        """Take a sample of each GPU; returns the pause until the next."""
        self._samples += self._ask()
        return SAMPLE_INTERVAL_S

    @property
    def figures(self) -> dict[str, float]:
        """Mean utilization and power, and the peak memory of any GPU; empty without samples."""
        if not self._samples:
            return {}
        count = len(self._samples)
        return {
            "gpu_utilization": round(sum(sample.utilization for sample in self._samples) / count, 1),
            "gpu_memory_mb": max(sample.memory_mb for sample in self._samples),
            "gpu_power_w": round(sum(sample.power_w for sample in self._samples) / count, 1),
        }


def _is_named(index: str, uuid: str, visible: str) -> bool:
    """Return whether CUDA_VISIBLE_DEVICES names a GPU, by its index or by the beginning of its UUID."""
    entries = [entry.strip() for entry in visible.split(",")]
    return any(entry == index or (entry.startswith("GPU-") and uuid.startswith(entry)) for entry in entries)


def _query(fields: str, index: int | None) -> list[list[str]]:
    return _ask(f"--query-gpu={fields}", *([] if index is None else [f"--id={index}"]))


def _ask(*options: str) -> list[list[str]]:
    """Return nvidia-smi's rows of fields; none where it is missing or fails."""
    command = ["nvidia-smi", *options, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _megabytes(mebibytes: str) -> float:
    return round(_number(mebibytes) * MIB / MB, 1)


def _number(text: str) -> float:
    """Read a number; cards that do not report one print [N/A]."""
    try:
        return float(text)
    except ValueError:
        return 0.0
