"""Where tests find media, references, models and the server, and why they skip where one is absent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.connection import TritonConnection
from lipsync_core.contract import read_contract
from lipsync_core.serving.runtime import ServerStartError, find_runtime
from lipsync_core.serving.server import EmbeddedServer, ServerOptions

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"


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
    """The model repository, its networks exported."""
    missing = [
        model.name
        for model in REPOSITORY.iterdir()
        if model.is_dir()
        and read_contract(model).backend == "onnxruntime"
        and not (model / "1" / "model.onnx").is_file()
    ]
    if missing:
        _skip_or_fail(f"{', '.join(missing)} not exported; run: make models")
    return REPOSITORY


@pytest.fixture(scope="session")
def server(model_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with every model, for all tests that only ask it."""
    try:
        find_runtime()
    except ServerStartError as error:
        _skip_or_fail(str(error))
    models = tuple(sorted(path.parent.name for path in model_repository.glob("*/config.pbtxt")))
    with EmbeddedServer(ServerOptions(model_repository, models)) as running:
        yield running


@pytest.fixture(params=["shm", "grpc"])
def connection(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[TritonConnection]:
    """A connection to the shared server, by each transport in turn."""
    with TritonConnection(server.url, request.param) as opened:
        yield opened


@pytest.fixture
def lipsync_command() -> list[str]:
    """The command that users type, for tests that run it as its own process."""
    return [sys.executable, str(ROOT / "client" / "lipsync.py")]


def _skip_or_fail(reason: str) -> None:
    if os.environ.get("REQUIRE_SERVER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
