"""Networks with synthetic weights, exported once for all tests and kept under build/ while their sources stay."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY, ROOT

FORMATS = ("onnx", "torch")
SOURCES = ("export/**/*.py", "lipsync_core/**/*.py", "constraints.txt")


@dataclass(frozen=True)
class Export:
    """One command of `python -m export`.

    Attributes:
        name: Stem of its folder under build/.
        models: What it exports.
        arguments: The command's own; its formats and repository are added.
    """

    name: str
    models: tuple[str, ...]
    arguments: tuple[str, ...]

    def folder(self) -> Path:
        """Return a repository with the models' exported networks and nothing else; exports them if need be."""
        folder = ROOT / "build" / f"{self.name}-{self._digest()}"
        folder.parent.mkdir(exist_ok=True)
        with _locked(folder.parent / f"{self.name}.lock"):  # test processes side by side need the same networks
            if not folder.is_dir():
                for old in folder.parent.glob(f"{self.name}-*"):
                    shutil.rmtree(old, ignore_errors=True)
                self._export(folder)
        return folder

    def _export(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unfinished = Path(temporary) / "repository"
            for config in self._configs():
                (unfinished / config.parent.name).mkdir(parents=True)
                shutil.copy(config, unfinished / config.parent.name)
            with ThreadPoolExecutor(len(FORMATS)) as pool:  # each takes a core for a minute or two
                codes = list(pool.map(lambda file_format: self._run(unfinished, file_format), FORMATS))
            assert codes == [0] * len(FORMATS), f"export {' '.join(self.arguments)} failed: exit codes {codes}"
            unfinished.rename(folder)

    def _run(self, repository: Path, file_format: str) -> int:
        command = [sys.executable, "-m", "export", *self.arguments, "--format", file_format]
        return subprocess.run([*command, "--repository", str(repository)], cwd=ROOT, check=False).returncode

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
WAV2LIP = Export("wav2lip", ("wav2lip_generator", "s3fd"), ("wav2lip", "--synthetic-weights"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, then hold it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
