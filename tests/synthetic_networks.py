"""Networks with synthetic weights, exported once for all tests and kept under build/ while their sources stay."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.conftest import REPOSITORY, ROOT

FileFormat = Literal["onnx", "torch"]
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

    def folder(self, file_format: FileFormat = "onnx") -> Path:
        """Return a repository with the models' networks of one format and nothing else; exports them if need be."""
        name = f"{self.name}-{file_format}"
        folder = ROOT / "build" / f"{name}-{self._digest()}"
        folder.parent.mkdir(exist_ok=True)
        with _locked(folder.parent / f"{name}.lock"):  # test processes side by side need the same networks
            if not folder.is_dir():
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


SMALL_LATENTSYNC = Export(
    "latentsync-small",
    ("latentsync_unet", "latentsync_unet_shallow", "vae_encoder", "vae_decoder", "whisper_encoder"),
    ("latentsync", "--synthetic-weights", "--size", "small"),
)
SMALL_MUSETALK = Export(
    "musetalk-small",
    ("musetalk_unet", "face_parsing"),  # its other networks are LatentSync's
    ("musetalk", "--synthetic-weights", "--size", "small", "--only", "unet", "face-parsing"),
)
WAV2LIP = Export("wav2lip", ("wav2lip_generator", "s3fd"), ("wav2lip", "--synthetic-weights"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, then hold it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
