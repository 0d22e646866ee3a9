"""TensorRT engines in their own volume: where they are, and whether they match this GPU and these models.

An engine runs only on the GPU and TensorRT version that it was built for; its folder is named after both.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

from lipsync_core.config_file import CONFIG_FILE, read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER
from lipsync_core.repository import required_models
from lipsync_core.serving.gpus import VISIBLE_VARIABLE
from lipsync_core.serving.links import ENGINE_FILE

FLAVOUR = "tensorrt"
RECORD_FILE = "model.plan.json"
GRAPH_FILE = NETWORK_FILES["onnxruntime"]
IMAGE_VARIABLE = "LIPSYNC_TRITON_TAG"  # set in our images: the tag of NVIDIA's, which fixes TensorRT's version
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
NVIDIA_SMI_TIMEOUT_S = 30


def find_gpu(command: tuple[str, ...] = NVIDIA_SMI) -> str:
    """Return the name, compute capability and driver of the first visible GPU, separated by commas.

    Raises:
        ValueError: nvidia-smi is absent or shows none.
    """
    try:
        result = subprocess.run(
            [*command, *_of_first_visible()], capture_output=True, text=True, check=True, timeout=NVIDIA_SMI_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"GPU: expected one that nvidia-smi shows, got {error}") from error
    lines = result.stdout.strip().splitlines()
    if not lines:
        raise ValueError("GPU: expected one that nvidia-smi shows, got none")
    return lines[0]


def _of_first_visible() -> list[str]:
    """Return nvidia-smi's option for the GPU that comes first in CUDA_VISIBLE_DEVICES; none where it lists them all."""
    first = os.environ.get(VISIBLE_VARIABLE, "").partition(",")[0].strip()
    return [f"--id={first}"] if first.isdecimal() or first.startswith("GPU-") else []


def engine_folder(volume: Path, gpu: str) -> Path:
    """Return the volume's folder for this image and GPU, such as VOLUME/25.06-py3/nvidia-h100-80gb-hbm3-9-0."""
    name = re.sub(r"[^a-z0-9]+", "-", without_driver(gpu).lower()).strip("-")
    return volume / os.environ.get(IMAGE_VARIABLE, "local") / name


def without_driver(gpu: str) -> str:
    """Return the name and compute capability of a GPU: an engine stays valid when the driver changes."""
    return ",".join(gpu.split(",")[:2])


def models_with_engine(repository: Path, models: list[str]) -> list[str]:
    """List those of the models, and of what they need, that have a TensorRT flavour."""
    return [name for name in required_models(repository, models) if _flavour(repository, name).is_file()]


def exported_with_engine(repository: Path) -> list[str]:
    """List the repository's models that have a TensorRT flavour and a graph to build an engine from."""
    names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}"))
    return [
        name
        for name in names
        if _flavour(repository, name).is_file() and (repository / name / VERSION_FOLDER / GRAPH_FILE).is_file()
    ]


def stale_engines(repository: Path, models: list[str], engines: Path) -> list[str]:
    """List the models whose engine is not there, or was built from another graph or with another profile."""
    return [name for name in models if not _is_current(repository, name, engines / name / VERSION_FOLDER)]


def _is_current(repository: Path, name: str, folder: Path) -> bool:
    try:
        record = json.loads((folder / RECORD_FILE).read_text())
        graph = (repository / name / VERSION_FOLDER / GRAPH_FILE).read_bytes()
    except (OSError, ValueError):
        return False
    built_from = (record.get("onnx_sha256"), _profile_text(record.get("profile", {})))
    wanted = (hashlib.sha256(graph).hexdigest(), _wanted_profile_text(read_contract(repository / name, FLAVOUR)))
    return (folder / ENGINE_FILE).is_file() and built_from == wanted


def _profile_text(profile: dict[str, dict[str, list[int]]]) -> list[str]:
    return [
        " ".join(f"{name}={'x'.join(map(str, dims))}" for name, dims in profile.get(size, {}).items())
        for size in ("min", "opt", "max")
    ]


def _wanted_profile_text(contract: ModelContract) -> list[str]:
    return [contract.parameters.get(f"profile_{size}", "") for size in ("min", "opt", "max")]


def _flavour(repository: Path, name: str) -> Path:
    return repository / name / "configs" / f"{FLAVOUR}.pbtxt"
