"""Prepares one clip with the user's servers or an embedded one."""

from __future__ import annotations

from pathlib import Path

from client.prepared.options import PreparationOptions
from client.prepared.preparation import Preparation, Prepared
from client.prepared.weights import weights_of
from client.progress import JobProgress
from client.servers.access import ServerAccess
from client.servers.embedded import open_pool
from client.system import reserve_matrix_memory


def prepare_clip(
    options: PreparationOptions, access: ServerAccess, repository: Path, progress: JobProgress
) -> Prepared:
    """Prepare a clip.

    Args:
        options: what is to be prepared.
        access: the servers; without URLs one is started for this alone.
        repository: the models of a server that is started.
        progress: is told the stages and frames.

    Raises:
        LipSyncError: whatever keeps the folder from being complete; nothing is left under its name then.
        ServerStartError: the embedded server does not start.
    """
    reserve_matrix_memory()
    weights = {} if access.urls else weights_of(repository, options.needed_models)
    with Preparation(options, weights) as preparation:
        progress.stage("connecting" if access.urls else "starting the server")
        with open_pool(access, repository, options.needed_models) as (pool, _):
            return preparation.run(pool, progress)
