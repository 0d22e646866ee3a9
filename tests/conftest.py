"""Finds media, references, models and servers for the tests, or says why tests skip; divides tests among workers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from client.servers.connection import TritonConnection
from lipsync_core.repository import missing_networks
from lipsync_core.serving.runtime import ServerStartError, find_runtime
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.torch_flavour import FLAVOUR, serve_programs_on_cpu

if TYPE_CHECKING:
    from tests.synthetic_networks import Export, FileFormat

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"
STARTUP_TIMEOUT_S = 600.0  # a busy machine reads programs slowly
DEFAULT_MODELS = ("faces", "mouth_motion", "voice_activity")  # of the default pipeline, and of others in silence
MUSETALK_MODELS = ("musetalk", "musetalk_prepare", "musetalk_prepared", "whisper_padded_features")
LATENTSYNC_MODELS = ("latentsync", "whisper_features", *DEFAULT_MODELS)
LATENTSYNC_RESOLUTION = 64  # pixels: edge of the faces that the small networks generate


def _folder(variable: str, default: str, what: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / default))
    if not path.is_dir():
        pytest.skip(f"no {what} in {path}; name its folder in {variable}")
    return path


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Folder of real test media, which are not in the repository."""
    return _folder("LIPSYNC_TEST_MEDIA", "media", "test media")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the reference outputs of other implementations."""
    return _folder("LIPSYNC_REFERENCE", "reference", "reference outputs")


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The model repository, its face networks exported."""
    missing = [name for model in DEFAULT_MODELS for name in missing_networks(REPOSITORY, model)]
    if missing:
        skip_or_fail(f"{', '.join(missing)} not exported; run: make models")
    return REPOSITORY


@pytest.fixture(scope="session")
def wav2lip_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with Wav2Lip's networks, synthetic weights."""
    from tests.synthetic_networks import WAV2LIP

    return _with_networks(model_repository, tmp_path_factory.mktemp("wav2lip"), *WAV2LIP)


@pytest.fixture(scope="session")
def syncnet_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with SyncNet, synthetic weights."""
    from tests.synthetic_networks import SYNCNET

    return _with_networks(model_repository, tmp_path_factory.mktemp("syncnet"), *SYNCNET)


@pytest.fixture(scope="session")
def latentsync_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with small LatentSync networks for small faces, synthetic weights."""
    from tests.synthetic_networks import SMALL_LATENTSYNC

    copy = _with_networks(model_repository, tmp_path_factory.mktemp("latentsync"), *SMALL_LATENTSYNC)
    return _with_small_faces(copy)


@pytest.fixture(scope="session")
def simple_latentsync_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a UNet of a few operators; the networks around it are those of MuseTalk's tests."""
    from tests.simple_unet import write_simple_unets
    from tests.synthetic_networks import VAE, WHISPER

    copy = _with_networks(model_repository, tmp_path_factory.mktemp("simple_latentsync"), VAE, WHISPER)
    write_simple_unets(copy)
    config = copy / "latentsync" / "config.pbtxt"
    text = config.read_text()
    assert "count: 3 " in text
    config.write_text(text.replace("count: 3 ", "count: 1 "))  # each instance takes seconds to import torch
    return _with_small_faces(copy)


@pytest.fixture(scope="session")
def musetalk_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model repository with MuseTalk's networks: a small UNet and VAE, synthetic weights."""
    from tests.synthetic_networks import SMALL_MUSETALK

    return _with_networks(model_repository, tmp_path_factory.mktemp("musetalk"), *SMALL_MUSETALK)


@pytest.fixture(scope="session")
def server(model_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with every exported model, for all tests that only send requests."""
    names = sorted(path.parent.name for path in model_repository.glob("*/config.pbtxt"))
    with serve(model_repository, tuple(name for name in names if not missing_networks(model_repository, name))) as up:
        yield up


# Other servers live as long as one file of tests: several at once would fill the memory.


@pytest.fixture(scope="module")
def latentsync_server(latentsync_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with small LatentSync models."""
    with serve(latentsync_repository, LATENTSYNC_MODELS) as up:
        yield up


@pytest.fixture(scope="module")
def simple_latentsync_server(simple_latentsync_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with LatentSync models, their UNet of a few operators."""
    with serve(simple_latentsync_repository, LATENTSYNC_MODELS) as up:
        yield up


@pytest.fixture(scope="module")
def wav2lip_server(wav2lip_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with the Wav2Lip models."""
    with serve(wav2lip_repository, ("wav2lip", "s3fd_faces", *DEFAULT_MODELS)) as up:
        yield up


@pytest.fixture(scope="module")
def syncnet_server(syncnet_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with SyncNet and the default pipeline."""
    with serve(syncnet_repository, ("syncnet_lips", "syncnet_sound", *DEFAULT_MODELS)) as up:
        yield up


@pytest.fixture(scope="module")
def wav2lip_torch_server(
    wav2lip_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    """One embedded Triton with the Wav2Lip models, their networks as torch programs on the CPU."""
    from tests.synthetic_networks import WAV2LIP

    folder = tmp_path_factory.mktemp("wav2lip_torch")
    with _serve_programs(wav2lip_repository, folder, WAV2LIP, ("wav2lip", "s3fd_faces")) as up:
        yield up


@pytest.fixture(scope="module")
def latentsync_torch_server(
    latentsync_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    """One embedded Triton with small LatentSync models, their networks as torch programs on the CPU."""
    from tests.synthetic_networks import SMALL_LATENTSYNC

    folder = tmp_path_factory.mktemp("latentsync_torch")
    with _serve_programs(latentsync_repository, folder, SMALL_LATENTSYNC, ("latentsync", "whisper_features")) as up:
        yield up


@pytest.fixture(scope="module")
def musetalk_server(musetalk_repository: Path) -> Iterator[EmbeddedServer]:
    """One embedded Triton with the MuseTalk models, their networks small."""
    with serve(musetalk_repository, (*MUSETALK_MODELS, *DEFAULT_MODELS)) as up:
        yield up


@pytest.fixture(params=["shm", "grpc"])
def connection(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[TritonConnection]:
    """A connection to the shared server, by each transport in turn."""
    with TritonConnection(server.url, request.param) as opened:
        yield opened


@pytest.fixture
def lipsync_command() -> list[str]:
    """The command that users type, for tests that run it in a process of its own."""
    return [sys.executable, str(ROOT / "client" / "lipsync.py")]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell why a test failed at once: a run that is ended from outside has no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        last = report.longreprtext.rstrip().splitlines()[-40:]
        print(f"\nFAILED in {report.when}: {report.nodeid}", *last, sep="\n", flush=True)


def serve(repository: Path, models: tuple[str, ...], config_name: str | None = None, **options: Any) -> EmbeddedServer:
    """Return a server with some models, not started yet; the test skips where none can start."""
    try:
        find_runtime()
    except ServerStartError as error:
        skip_or_fail(str(error))
    return EmbeddedServer(
        ServerOptions(repository, models, config_name=config_name, startup_timeout_s=STARTUP_TIMEOUT_S, **options)
    )


def _serve_programs(
    repository: Path, folder: Path, programs: Sequence[Export], models: tuple[str, ...]
) -> EmbeddedServer:
    copy = _with_networks(repository, folder, *programs, file_format="torch")
    serve_programs_on_cpu(copy)
    return serve(copy, (*models, *DEFAULT_MODELS), FLAVOUR)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip, but fail under `make test`, which sets up what is missing."""
    if os.environ.get("REQUIRE_SERVER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _with_small_faces(repository: Path) -> Path:
    """Let LatentSync generate faces of LATENTSYNC_RESOLUTION; returns the repository."""
    config = repository / "latentsync_align" / "config.pbtxt"
    config.write_text(config.read_text().replace('"256"', f'"{LATENTSYNC_RESOLUTION}"'))
    return repository


def _with_networks(repository: Path, folder: Path, *exports: Export, file_format: FileFormat = "onnx") -> Path:
    """Copy a model repository with some networks exported by a test, whatever weights the user has for them."""
    if find_spec("torch") is None:
        skip_or_fail("no torch; run: make test")
    from tests.synthetic_networks import exported_folders

    copy = folder / "model_repository"
    networks = exported_folders(exports, file_format)

    def left_out(folder: str, names: list[str]) -> list[str]:
        replaced = Path(folder).name == "1" and Path(folder).parent.name in networks
        return [name for name in names if name == "__pycache__" or (replaced and name != ".gitkeep")]

    shutil.copytree(repository, copy, ignore=left_out)
    for model, exported in networks.items():
        shutil.copytree(exported / model / "1", copy / model / "1", dirs_exist_ok=True)
    return copy
