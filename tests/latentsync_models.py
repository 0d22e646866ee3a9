"""The small LatentSync networks with the recipe's weights, exported once per state of the sources."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import REPOSITORY, ROOT

NETWORK_MODELS = ("latentsync_unet", "latentsync_unet_shallow", "vae_encoder", "vae_decoder", "whisper_encoder")


def export_small(repository: Path, file_format: str) -> bool:
    """Export the networks in a process of its own; False where that fails, with its words on stderr."""
    command = [sys.executable, "-m", "export", "latentsync", "--synthetic-weights", "--size", "small"]
    return not subprocess.run([*command, "--format", file_format, "--repository", str(repository)], cwd=ROOT).returncode


def small_networks() -> Path:
    """A repository folder with the five networks; kept under build/ while export/ and the configs stay the same."""
    configs = [REPOSITORY / model / "config.pbtxt" for model in NETWORK_MODELS]
    digest = hashlib.sha256()
    program = ROOT / "lipsync_core" / "programs" / "program.py"  # writes model.pt2
    for path in [*sorted((ROOT / "export").rglob("*.py")), program, *configs, ROOT / "constraints.txt"]:
        digest.update(path.read_bytes())
    folder = ROOT / "build" / f"latentsync-small-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:  # another run may be exporting the same
        unfinished = Path(temporary) / "repository"
        for path in configs:
            (unfinished / path.parent.name).mkdir(parents=True)
            shutil.copy(path, unfinished / path.parent.name)
        with ThreadPoolExecutor() as both:  # each takes a core for a minute or two
            assert all(both.map(lambda file_format: export_small(unfinished, file_format), ("onnx", "torch")))
        with contextlib.suppress(OSError):  # the other run was first
            unfinished.rename(folder)
    for old in folder.parent.glob("latentsync-small-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder
