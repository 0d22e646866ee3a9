"""Lays out the repository of one server: links to the models that it serves."""

from __future__ import annotations

from pathlib import Path

from lipsync_core.config_file import CONFIG_FILE
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER

ENGINE_FILE = NETWORK_FILES["tensorrt"]


def link_models(repository: Path, models: list[str], folder: Path, engines: Path | None = None) -> Path:
    """Fill a folder with links to models, so that tritonserver serves all of it and clients cannot load models.

    Args:
        repository: The model repository; it is only read.
        models: Names of the models to serve.
        folder: The folder to fill; empty or absent.
        engines: Folder of TensorRT engines, ENGINES/<model>/1/model.plan, which replace the models' own files.

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
