"""SyncNet's models, and whether a server that this project starts gets them. Asks no server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipsync_core.repository import synthetic_networks

LIPS_MODEL, SOUND_MODEL = "syncnet_lips", "syncnet_sound"
SYNCNET_MODELS = (LIPS_MODEL, SOUND_MODEL)


def without_synthetic_syncnet(repository: Path, models: Sequence[str], config_name: str | None = None) -> list[str]:
    """Leave SyncNet out if its weights are synthetic: its figures would mean nothing, and nothing else needs it.

    Args:
        repository: the model repository.
        models: names of exported models.
        config_name: the flavour that is served.
    """
    own = [model for model in models if model in SYNCNET_MODELS]
    if not synthetic_networks(repository, own, config_name):
        return list(models)
    return [model for model in models if model not in own]
