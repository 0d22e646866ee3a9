"""Links graphs into an engine volume, so that engines can be built beside a repository that is read-only."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from lipsync_core.config_file import CONFIG_FILE
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.serving.links import ENGINE_FILE


def link_graphs(repository: Path, models: list[str], volume: Path) -> None:
    """Make a folder for each model in the volume, with links to its configs and graphs.

    Args:
        repository: Model repository, which is only read.
        models: Names of the models.
        volume: Folder of this GPU's engines in the volume.
    """
    for model in models:
        version = volume / model / VERSION_FOLDER
        version.mkdir(parents=True, exist_ok=True)
        sources = [repository / model / CONFIG_FILE, repository / model / "configs"]
        sources += [path for path in (repository / model / VERSION_FOLDER).iterdir() if ENGINE_FILE not in path.name]
        for source in sources:
            _link(volume / source.relative_to(repository), source.resolve())


def _link(link: Path, target: Path) -> None:
    """Make a link, or replace an older one in one step, as other servers may build in the same volume."""
    unfinished = link.with_name(f".{link.name}-{os.getpid()}-{socket.gethostname()}")
    unfinished.symlink_to(target)
    unfinished.replace(link)
