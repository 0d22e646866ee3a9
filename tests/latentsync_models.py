"""The small LatentSync networks with the recipe's weights, exported once per state of the sources."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from export.__main__ import main
from tests.conftest import REPOSITORY, ROOT

NETWORK_MODELS = ("unet", "unet_shallow", "vae_encoder", "vae_decoder", "whisper_encoder")


def small_networks() -> Path:
    """A repository folder with the five networks; kept under build/ while export/ and the configs stay the same."""
    configs = [REPOSITORY / model / "config.pbtxt" for model in NETWORK_MODELS]
    digest = hashlib.sha256()
    for path in [*sorted((ROOT / "export").glob("*.py")), *configs, ROOT / "constraints.txt"]:
        digest.update(path.read_bytes())
    folder = ROOT / "build" / f"latentsync-small-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for path in configs:
        (unfinished / path.parent.name).mkdir(parents=True)
        shutil.copy(path, unfinished / path.parent.name)
    arguments = ["--synthetic-weights", "--size", "small", "--repository", str(unfinished)]
    assert main(["latentsync", *arguments]) == 0
    for old in folder.parent.glob("latentsync-small-*"):
        shutil.rmtree(old)
    return unfinished.rename(folder)
