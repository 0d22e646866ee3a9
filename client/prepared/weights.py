"""Whether the models still have the weights that a clip was prepared with, as far as notes beside them tell."""

from __future__ import annotations

import hashlib
from pathlib import Path

from client.errors import MediaError, UsageError
from client.prepared.clip import AGAIN, PreparedClip
from client.prepared.options import asked_models
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.repository import required_models
from lipsync_core.weights import NOTE_SUFFIX


def weights_of(repository: Path, models: tuple[str, ...]) -> dict[str, str]:
    """Return model -> hash of the notes on its weights, of some models and of what they need, where there are any.

    Several formats of the same weights have the same note, which counts once.

    Raises:
        UsageError: the repository lacks a model.
    """
    try:
        needed = required_models(repository, list(models))
    except ValueError as error:
        raise UsageError(str(error)) from error
    notes = {
        model: {path.read_bytes() for path in (repository / model / VERSION_FOLDER).glob(f"*{NOTE_SUFFIX}")}
        for model in needed
    }
    return {model: hashlib.sha256(b"".join(sorted(found))).hexdigest() for model, found in notes.items() if found}


def check_weights(folder: Path, repository: Path) -> None:
    """Check that a clip was prepared with the weights that a server of this repository would use.

    Raises:
        MediaError: it was not; a clip that was prepared by a running server passes.
    """
    clip = PreparedClip(folder)
    before, now = clip.manifest.weights, weights_of(repository, asked_models(clip))
    changed = [model for model in before if model in now and before[model] != now[model]]
    if changed:
        raise MediaError(
            about=folder,
            expected="a clip prepared with the weights that the models have now",
            got=f"one prepared with others in {', '.join(changed)}",
            advice=AGAIN,
        )
