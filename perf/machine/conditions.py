"""The conditions of a measurement: machine, GPUs, driver, commit and time; and the peak performance of the CPU."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import UsageError
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.machine.gpu import list_gpus

ROOT = DEFAULT_REPOSITORY.parent
GIT_TIMEOUT_S = 10
GB = 1e9
GEMM_EDGE = 1536  # fp32 matrices of 9 MB each: large enough for the fastest kernels
COPY_BYTES = 256 << 20  # well beyond the last-level cache
PEAK_RUNS = 5


def machine_conditions() -> dict[str, Any]:
    """Return what a measurement runs on, and when, as JSON."""
    gpus = list_gpus()
    return {
        "machine": processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1),
        "gpus": [dataclasses.asdict(gpu) for gpu in gpus],
        "driver": gpus[0].driver if gpus else "",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "commit": git_commit(),
        "started": now(),
    }


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor_name() -> str:
    """Return the name of the CPU, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def git_commit() -> str:
    """Return the commit of the sources, marked if tracked files have changed; "unknown" outside a checkout."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit} with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def now() -> str:
    """Return the time in UTC as ISO 8601, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor_peaks() -> dict[str, float]:
    """Measure the peak of the usable CPU cores: fp32 matrix products in GFLOP/s, and memory copies in GB/s."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, GEMM_EDGE, GEMM_EDGE), dtype=np.float32)
    source = np.ones(COPY_BYTES, np.uint8)
    target = np.ones_like(source)
    product_s = _best_seconds(lambda: np.matmul(left, right))
    copy_s = _best_seconds(lambda: np.copyto(target, source))
    return {
        "peak_gflop_per_s": round(2 * GEMM_EDGE**3 / product_s / GB, 1),
        "peak_gb_per_s": round(2 * COPY_BYTES / copy_s / GB, 1),  # read and written
    }


def limit_cores(count: int | None) -> None:
    """Restrict this process, and those that it starts, to some CPU cores; None keeps all.

    Raises:
        UsageError: there are fewer cores.
    """
    if count is None:
        return
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= count <= len(usable):
        raise UsageError(option="cores", expected=f"1 to {len(usable)}", got=count)
    os.sched_setaffinity(0, usable[:count])


def _best_seconds(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(PEAK_RUNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
    return done.stdout.strip()
