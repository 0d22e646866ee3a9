"""Which of SyncNet's models a server that is started for one job gets. Asks no server."""

from __future__ import annotations

from pathlib import Path

from lipsync_core.repository import has_network, missing_networks
from lipsync_core.syncnet.models import SYNCNET_MODELS, without_synthetic_syncnet


def syncnet_to_serve(repository: Path) -> tuple[str, ...]:
    """Return SyncNet's models if they are exported with real weights; without them jobs run as well."""
    for model in SYNCNET_MODELS:
        if not has_network(repository, model) or missing_networks(repository, model):
            return ()
    return tuple(without_synthetic_syncnet(repository, SYNCNET_MODELS))
