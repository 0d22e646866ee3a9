"""Networks with synthetic weights, exported once for all tests and kept under build/ while their sources stay."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER
from tests.conftest import REPOSITORY, ROOT

FileFormat = Literal["onnx", "torch"]
FILES: Mapping[FileFormat, str] = {"onnx": NETWORK_FILES["onnxruntime"], "torch": NETWORK_FILES["torch"]}
TENSORRT_OPERATORS = frozenset(  # of the graphs exported here; all of them have importers in TensorRT 10
    [
        "Add",
        "ArgMax",
        "Cast",
        "Concat",
        "Constant",
        "Conv",
        "Cos",
        "Div",
        "Erf",
        "Expand",
        "Gather",
        "Gemm",
        "InstanceNormalization",
        "LayerNormalization",
        "MatMul",
        "MaxPool",
        "Mul",
        "Pad",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ]
)
SOURCES = ("export/**/*.py", "lipsync_core/**/*.py", "constraints.txt")


@dataclass(frozen=True)
class Export:
    """One command of `python -m export`.

    Attributes:
        name: Stem of its folder under build/.
        models: What it exports.
        arguments: The command's own; its format and repository are added.
    """

    name: str
    models: tuple[str, ...]
    arguments: tuple[str, ...]

    def folder(self, file_format: FileFormat = "onnx", wait: bool = True) -> Path:
        """Return a repository with the models' networks of one format and nothing else; exports them if need be.

        Args:
            file_format: Format of the networks.
            wait: Wait while another process exports them; else the folder may not be there yet.
        """
        name = f"{self.name}-{file_format}"
        folder = ROOT / "build" / f"{name}-{self._digest()}"
        folder.parent.mkdir(exist_ok=True)
        # test processes side by side need the same networks
        with _lock(folder.parent / f"{name}.lock", wait) as locked:
            if locked and not folder.is_dir():
                for old in folder.parent.glob(f"{name}-*"):
                    shutil.rmtree(old, ignore_errors=True)
                self._export(folder, file_format)
        return folder

    def _export(self, folder: Path, file_format: FileFormat) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unfinished = Path(temporary) / "repository"
            for config in self._configs():
                (unfinished / config.parent.name).mkdir(parents=True)
                shutil.copy(config, unfinished / config.parent.name)
            command = [sys.executable, "-m", "export", *self.arguments, "--format", file_format]
            subprocess.run([*command, "--repository", str(unfinished)], cwd=ROOT, check=True)
            unfinished.rename(folder)

    def _configs(self) -> list[Path]:
        return [REPOSITORY / model / "config.pbtxt" for model in self.models]

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for path in [*(path for pattern in SOURCES for path in sorted(ROOT.glob(pattern))), *self._configs()]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


SMALL = ("--synthetic-weights", "--size", "small")
VAE = Export("vae-small", ("vae_encoder", "vae_decoder"), ("vae", *SMALL))
WHISPER = Export("whisper", ("whisper_encoder",), ("whisper", "--synthetic-weights"))
LATENTSYNC_UNET = Export(
    "latentsync-unet-small",
    ("latentsync_unet", "latentsync_unet_shallow"),
    ("latentsync", *SMALL, "--only", "unet"),
)
MUSETALK_NETWORKS = Export(
    "musetalk-small",
    ("musetalk_unet", "face_parsing"),
    ("musetalk", *SMALL, "--only", "unet", "face-parsing"),
)
WAV2LIP = (Export("wav2lip", ("wav2lip_generator", "s3fd"), ("wav2lip", "--synthetic-weights")),)
SYNCNET = (Export("syncnet", ("syncnet_lips", "syncnet_sound"), ("syncnet", "--synthetic-weights")),)
SMALL_LATENTSYNC = (LATENTSYNC_UNET, VAE, WHISPER)
SMALL_MUSETALK = (MUSETALK_NETWORKS, VAE, WHISPER)


def exported_models(exports: Iterable[Export]) -> tuple[str, ...]:
    """Return the names of all models that some exports make."""
    return tuple(model for export in exports for model in export.models)


def exported_network(model: str, file_format: FileFormat = "onnx") -> Path:
    """Return the file of a model's network; exports it if need be."""
    (export,) = {
        export for export in (*WAV2LIP, *SYNCNET, *SMALL_LATENTSYNC, *SMALL_MUSETALK) if model in export.models
    }
    return export.folder(file_format) / model / VERSION_FOLDER / FILES[file_format]


def exported_folders(exports: Sequence[Export], file_format: FileFormat) -> dict[str, Path]:
    """Return model -> repository that holds its network, first exporting what no other test process exports already."""
    for export in exports:
        export.folder(file_format, wait=False)
    return {model: export.folder(file_format) for export in exports for model in export.models}


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock between processes; yields False if another process holds it and `wait` is false."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
