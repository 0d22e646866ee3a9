"""Whether the models still have the weights that a clip was prepared with, as far as notes beside them tell."""

from __future__ import annotations

import hashlib
from pathlib import Path

from client.errors import MediaError
from client.prepared.clip import AGAIN, PreparedClip
from client.prepared.options import asked_models
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.repository import required_models
from lipsync_core.weights import NOTE_SUFFIX


def weights_stamp(repository: Path, models: tuple[str, ...]) -> str:
    """Hash the notes on the weights of some models and of what they need."""
    folders = [repository / model / VERSION_FOLDER for model in required_models(repository, list(models))]
    notes = sorted(path for folder in folders for path in folder.glob(f"*{NOTE_SUFFIX}"))
    return hashlib.sha256(b"".join(note.read_bytes() for note in notes)).hexdigest()


def check_weights(folder: Path, repository: Path) -> None:
    """Check that a clip was prepared with the weights that a server of this repository would use.

    Raises:
        MediaError: it was not; a clip that was prepared by a running server passes.
    """
    manifest = PreparedClip(folder).manifest
    if manifest.weights and manifest.weights != weights_stamp(repository, asked_models(manifest.options)):
        raise MediaError(
            about=folder,
            expected="a clip prepared with the weights that the models have now",
            got="one prepared with others",
            advice=AGAIN,
        )
