"""Chooses the flavour that a server of these models runs, by the GPUs and the exported networks that are there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipsync_core.config_file import read_contract
from lipsync_core.repository import export_commands, exported_models, missing_networks, required_models
from lipsync_core.serving.engines import FLAVOUR as TENSORRT
from lipsync_core.serving.engines import models_with_engine, stale_engines
from lipsync_core.serving.gpus import GPU_BACKENDS

AUTO, CPU, TORCH = "auto", "cpu", "torch"
ON_CPU = "so the networks run on the CPU"


@dataclass(frozen=True)
class FlavourChoice:
    """What is served.

    Attributes:
        flavour: Its name; None for config.pbtxt as it is, on the CPU.
        warning: A line about a visible GPU that stays unused; empty if there is none.
    """

    flavour: str | None
    warning: str = ""


def choose_flavour(
    asked: str, repository: Path, models: Sequence[str] | None, gpus: Sequence[str], engines: Path | None = None
) -> FlavourChoice:
    """Choose the flavour of a server.

    Args:
        asked: A flavour, "cpu" for none, or "auto": TensorRT if all engines are there, else torch if all programs are,
            else none.
        repository: Model repository.
        models: Models to serve; all that are exported if None.
        gpus: GPUs that the server would see.
        engines: Folder of this GPU's engines; None for a server that has no TensorRT.
    """
    if asked != AUTO:
        return FlavourChoice(None if asked == CPU else asked)
    if not gpus:
        return FlavourChoice(None)
    with_torch = _models_of(repository, models, TORCH)
    if engines is not None and _has_engines(repository, _models_of(repository, models, None), engines):
        return FlavourChoice(TENSORRT)
    missing = sorted({name for model in with_torch for name in missing_networks(repository, model, TORCH)})
    return _choose_torch(repository, with_torch, missing, len(gpus))


def _choose_torch(repository: Path, models: list[str], missing: list[str], gpu_count: int) -> FlavourChoice:
    """Choose torch if it runs all of the models, and some of them on a GPU; else say why a GPU stays unused."""
    unused = f"GPU: expected the networks on it, got {gpu_count} visible and unused"
    contracts = [read_contract(repository / name, TORCH) for name in required_models(repository, models)]
    if not any(contract.backend in GPU_BACKENDS for contract in contracts):
        return FlavourChoice(None, f"{unused}: none of the served models runs on a GPU")
    if missing:
        commands = ", ".join(export_commands(repository, missing, TORCH, models))
        return FlavourChoice(
            None, f"{unused}: no torch program of {', '.join(missing)}, {ON_CPU}. Export with: {commands} (see --help)"
        )
    if not _has_torch_for_gpus():
        return FlavourChoice(None, f"{unused}: no torch with CUDA is installed, {ON_CPU}. Install it")
    return FlavourChoice(TORCH)


def _models_of(repository: Path, models: Sequence[str] | None, flavour: str | None) -> list[str]:
    """Return the given models, or all that are exported for the CPU or for the flavour."""
    if models is not None:
        return list(models)
    return sorted({*exported_models(repository), *exported_models(repository, flavour)})


def _has_engines(repository: Path, models: list[str], engines: Path) -> bool:
    wanted = models_with_engine(repository, models)
    return bool(wanted) and not stale_engines(repository, wanted, engines)


def _has_torch_for_gpus() -> bool:
    """Say whether torch is installed, and not in a build for CPUs; without importing it, which takes seconds."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
