"""Where tests find media, references, models and the server, and why they skip where one is absent."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from client.servers.connection import TritonConnection
from lipsync_core.repository import missing_networks
from lipsync_core.serving.runtime import ServerStartError, find_runtime
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.torch_flavour import FLAVOUR, serve_programs_on_cpu

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"
STARTUP_TIMEOUT_S = 600.0  # a busy machine reads programs slowly
LATENTSYNC_RESOLUTION = 64  # pixels: edge of the faces that the small networks of the tests draw


def _folder(variable: str, default: str, what: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / default))
    if not path.is_dir():
        pytest.skip(f"no {what} in {path}; name its folder in {variable}")
    return path


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Folder of the real test media, which no repository holds."""
    return _folder("LIPSYNC_TEST_MEDIA", "media", "test media")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the reference outputs of other implementations."""
    return _folder("LIPSYNC_REFERENCE", "reference", "reference outputs")


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The model repository, its face networks exported."""
    missing = missing_networks(REPOSITORY, "mouth_motion")
    if missing:
        _skip_or_fail(f"{', '.join(missing)} not exported; run: make models")
    return REPOSITORY


@pytest.fixture(scope="session")
def wav2lip_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with Wav2Lip's networks exported from the recipe's weights."""
    try:
        import torch  # noqa: F401  (the exporter imports it late)

        from export import __main__ as export
    except ImportError as error:
        _skip_or_fail(f"{error}; run: make test")
    copy = _copy_without(model_repository, tmp_path_factory.mktemp("wav2lip"), {"wav2lip_generator", "s3fd"})
    arguments = ["--synthetic-weights", "--format", "onnx", "torch", "--repository", str(copy)]
    assert export.main(["wav2lip", *arguments]) == 0
    return copy


@pytest.fixture(scope="session")
def latentsync_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with small LatentSync networks of the recipe's weights, for small faces."""
    try:
        from tests.latentsync_models import NETWORK_MODELS, small_networks

        networks = small_networks()
    except ImportError as error:
        _skip_or_fail(f"{error}; run: make test")
    copy = _copy_without(model_repository, tmp_path_factory.mktemp("latentsync"), set(NETWORK_MODELS))
    for model in NETWORK_MODELS:
        shutil.copytree(networks / model / "1", copy / model / "1", dirs_exist_ok=True)
    config = copy / "latentsync_align" / "config.pbtxt"
    config.write_text(config.read_text().replace('"256"', f'"{LATENTSYNC_RESOLUTION}"'))
    return copy


@pytest.fixture(scope="session")
def server(model_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with every model that is exported, for all tests that only ask it."""
    names = sorted(path.parent.name for path in model_repository.glob("*/config.pbtxt"))
    with _serve(model_repository, tuple(name for name in names if not missing_networks(model_repository, name))) as up:
        yield up


@pytest.fixture(scope="session")
def wav2lip_server(wav2lip_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with the Wav2Lip models and the recipe's weights."""
    with _serve(wav2lip_repository, ("wav2lip", "s3fd_faces", "faces")) as up:
        yield up


@pytest.fixture(scope="session")
def latentsync_server(latentsync_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with small LatentSync models."""
    with _serve(latentsync_repository, ("latentsync", "whisper_features", "faces")) as up:
        yield up


@pytest.fixture(scope="session")
def torch_server(
    latentsync_repository: Path, wav2lip_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    """One embedded Triton with both pipelines, their networks as torch programs on the CPU."""
    copy = tmp_path_factory.mktemp("torch") / "model_repository"
    shutil.copytree(latentsync_repository, copy)
    for model in ("wav2lip_generator", "s3fd"):
        shutil.copytree(wav2lip_repository / model, copy / model, dirs_exist_ok=True)
    serve_programs_on_cpu(copy)
    with _serve(copy, ("latentsync", "whisper_features", "faces", "wav2lip", "s3fd_faces"), FLAVOUR) as up:
        yield up


@pytest.fixture(params=["shm", "grpc"])
def connection(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[TritonConnection]:
    """A connection to the shared server, by each transport in turn."""
    with TritonConnection(server.url, request.param) as opened:
        yield opened


@pytest.fixture
def lipsync_command() -> list[str]:
    """The command that users type, for tests that run it as its own process."""
    return [sys.executable, str(ROOT / "client" / "lipsync.py")]


def _serve(repository: Path, models: tuple[str, ...], config_name: str | None = None) -> EmbeddedServer:
    try:
        find_runtime()
    except ServerStartError as error:
        _skip_or_fail(str(error))
    return EmbeddedServer(
        ServerOptions(repository, models, config_name=config_name, startup_timeout_s=STARTUP_TIMEOUT_S)
    )


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_SERVER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _copy_without(repository: Path, folder: Path, networks: set[str]) -> Path:
    """Copy a model repository without some networks, which a user may have with real weights."""
    copy = folder / "model_repository"

    def left_out(folder: str, names: list[str]) -> list[str]:
        theirs = Path(folder).name == "1" and Path(folder).parent.name in networks
        return [name for name in names if name == "__pycache__" or (theirs and name != ".gitkeep")]

    shutil.copytree(repository, copy, ignore=left_out)
    return copy
