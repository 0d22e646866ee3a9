"""Which NVIDIA GPUs a new process here would see, and how it is limited to one of them. Does not need CUDA.

A server has one GPU: with several, Triton would make an instance of each model per GPU, and the steps of one request
would land on different ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipsync_core.config_file import read_contract

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
GPU_BACKENDS = frozenset({"tensorrt", "torch"})
LIST_GPUS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
TIMEOUT_S = 30


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """List the GPUs that a new process would see, as CUDA_VISIBLE_DEVICES names them; none without nvidia-smi."""
    present = _present_gpus()
    chosen = environment.get(VISIBLE_VARIABLE)
    if chosen is None:
        return present
    entries = [entry.strip() for entry in chosen.split(",")]
    unknown = (place for place, entry in enumerate(entries) if not _is_present(entry, present))
    return entries[: next(unknown, len(entries))]  # as CUDA, which ends at the first that it does not know


def runs_on_gpu(repository: Path, flavour: str | None) -> bool:
    """Say whether models of a flavour run on a GPU."""
    folders = [path.parent.parent for path in repository.glob(f"*/configs/{flavour}.pbtxt")]
    return any(read_contract(folder, flavour).backend in GPU_BACKENDS for folder in folders)


def gpus_to_use(repository: Path, flavour: str | None) -> list[str]:
    """List the visible GPUs that servers of a flavour need one of; none where it runs on the CPU."""
    return visible_gpus() if runs_on_gpu(repository, flavour) else []


def pinned(gpu: str | None) -> dict[str, str]:
    """Return the environment variables that limit a process to one GPU; none for None."""
    return {} if gpu is None else {VISIBLE_VARIABLE: gpu}


def _is_present(entry: str, present: Sequence[str]) -> bool:
    """Say whether an entry of CUDA_VISIBLE_DEVICES names a GPU: an index, the beginning of a UUID, or a part (MIG)."""
    if entry.isdecimal():
        return int(entry) < len(present)
    if entry.startswith("MIG-"):
        return bool(present)
    return entry.startswith("GPU-") and any(uuid.startswith(entry) for uuid in present)


def _present_gpus() -> list[str]:
    try:
        done = subprocess.run(LIST_GPUS, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
