"""The small LatentSync networks with the recipe's weights, exported once per state of the sources."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from export.__main__ import main
from tests.conftest import REPOSITORY, ROOT

NETWORK_MODELS = ("unet", "unet_shallow", "vae_encoder", "vae_decoder", "whisper_encoder")


def small_networks() -> Path:
    """A repository folder with the five networks; kept under build/ while export/ and the configs stay the same."""
    configs = [REPOSITORY / model / "config.pbtxt" for model in NETWORK_MODELS]
    digest = hashlib.sha256()
    program = ROOT / "lipsync_core" / "programs" / "program.py"  # writes model.pt2
    for path in [*sorted((ROOT / "export").glob("*.py")), program, *configs, ROOT / "constraints.txt"]:
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
        arguments = [
            "--synthetic-weights",
            "--size",
            "small",
            "--format",
            "onnx",
            "torch",
            "--repository",
            str(unfinished),
        ]
        assert main(["latentsync", *arguments]) == 0
        with contextlib.suppress(OSError):  # the other run was first
            unfinished.rename(folder)
    for old in folder.parent.glob("latentsync-small-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder
