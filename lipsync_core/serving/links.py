"""Lays out the repository that a server is given: links to the models that it serves, and to no other."""

from __future__ import annotations

from pathlib import Path

from lipsync_core.contract import CONFIG_FILE
from lipsync_core.repository import NETWORK_FILES, VERSION_FOLDER

ENGINE_FILE = NETWORK_FILES["tensorrt"]


def link_models(repository: Path, models: list[str], folder: Path, engines: Path | None = None) -> Path:
    """Fill a folder with links to models, so that tritonserver can serve all it finds and take no orders to load.

    Args:
        repository: the model repository, which is only read.
        models: names of the models to serve.
        folder: an empty or absent folder to fill.
        engines: folder of TensorRT engines, ENGINES/<model>/1/model.plan; they stand in for the model's own files.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in models:
        model = (repository / name).resolve()
        engine = engines / name / VERSION_FOLDER if engines is not None else None
        if engine is not None and (engine / ENGINE_FILE).is_file():
            _link_with_engine(model, engine.resolve(), folder / name)
        else:
            (folder / name).symlink_to(model)
    return folder


def _link_with_engine(model: Path, version: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / VERSION_FOLDER).symlink_to(version)
    for name in (CONFIG_FILE, "configs"):
        (folder / name).symlink_to(model / name)
