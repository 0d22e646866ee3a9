"""Which flavour a server runs, by the GPUs and networks that are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.cli import serve
from client.servers.embedded import own_server
from lipsync_core.repository import missing_networks
from lipsync_core.serving import flavours, launch
from lipsync_core.serving.flavours import AUTO, CPU, FlavourChoice, choose_flavour
from lipsync_core.serving.gpus import VISIBLE_VARIABLE
from lipsync_core.serving.server import COMPILE_TIMEOUT_S, ServerOptions
from tests.conftest import REPOSITORY
from tests.imitation_gpus import show_gpus

GPUS = ["GPU-aaaa1111"]
MODELS = ["wav2lip"]


@pytest.fixture(autouse=True)
def torch_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever build of torch is installed here."""
    monkeypatch.setattr(flavours.importlib.metadata, "version", lambda _: "2.13.0")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """All configurations, with empty files for the ONNX networks of wav2lip and of mouth-motion."""
    folder = tmp_path / "models"
    for config in REPOSITORY.glob("*/config.pbtxt"):
        (folder / config.parent.name / "1").mkdir(parents=True)
        shutil.copy(config, folder / config.parent.name)
        if (config.parent / "configs").is_dir():
            shutil.copytree(config.parent / "configs", folder / config.parent.name / "configs")
    for model in ("wav2lip", "mouth_motion", "faces", "voice_activity"):
        write_networks(folder, model)
    return folder


def write_networks(repository: Path, model: str, flavour: str | None = None) -> None:
    file = "model.onnx" if flavour is None else "model.pt2"
    for name in missing_networks(repository, model, flavour):
        (repository / name / "1" / file).touch()


def test_without_a_gpu_networks_run_on_the_cpu(repository: Path) -> None:
    """Also where torch programs are there, and without a word."""
    write_networks(repository, "wav2lip", "torch")
    assert choose_flavour(AUTO, repository, None, []) == FlavourChoice(None)


def test_torch_is_chosen_where_all_its_programs_are_there(repository: Path) -> None:
    """Of the served models, whether they are named or all that are exported."""
    write_networks(repository, "wav2lip", "torch")
    assert choose_flavour(AUTO, repository, None, GPUS) == FlavourChoice("torch")
    assert choose_flavour(AUTO, repository, MODELS, GPUS) == FlavourChoice("torch")


def test_engines_are_chosen_before_torch(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of them are there and up to date."""
    write_networks(repository, "wav2lip", "torch")
    stale = ["wav2lip_generator"]
    monkeypatch.setattr(flavours, "stale_engines", lambda *_: stale)
    engines = repository / "engines"
    assert choose_flavour(AUTO, repository, MODELS, GPUS, engines).flavour == "torch"
    stale.clear()
    assert choose_flavour(AUTO, repository, MODELS, GPUS, engines) == FlavourChoice("tensorrt")
    assert choose_flavour(AUTO, repository, ["mouth_motion"], GPUS, engines).flavour is None  # it has no engine


def test_an_unused_gpu_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is missing; nothing is told about a choice that was made by hand."""
    assert choose_flavour(AUTO, repository, MODELS, GPUS) == FlavourChoice(
        None,
        "GPU: expected the networks on it, got 1 visible and unused: no torch program of wav2lip_generator, so the"
        " networks run on the CPU. Export with: python -m export wav2lip --format torch (see --help)",
    )
    alone = choose_flavour(AUTO, repository, ["mouth_motion"], GPUS)
    assert alone.warning.endswith("1 visible and unused: none of the served models runs on a GPU")
    write_networks(repository, "wav2lip", "torch")
    monkeypatch.setattr(flavours.importlib.metadata, "version", lambda _: "2.13.0+cpu")
    assert "no torch with CUDA is installed" in choose_flavour(AUTO, repository, MODELS, GPUS).warning
    for asked, flavour in ((CPU, None), ("tensorrt", "tensorrt")):
        assert choose_flavour(asked, repository, MODELS, GPUS) == FlavourChoice(flavour)


def test_servers_choose_by_default(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lipsync serve` and the image take torch once its programs are there, and say why not before."""
    show_gpus(monkeypatch, tmp_path / "bin", ("GPU-aaaa1111",))
    monkeypatch.delenv(VISIBLE_VARIABLE, raising=False)
    arguments = [f"--model-repository={repository}", "--models", *MODELS]
    served, launched = serve.build_parser().parse_args(arguments), launch.build_parser().parse_args(arguments)
    assert serve._chosen_flavour(served) is launch.chosen_flavour(launched) is None
    assert capsys.readouterr().err.count("1 visible and unused: no torch program of wav2lip_generator") == 2
    write_networks(repository, "wav2lip", "torch")
    assert serve._chosen_flavour(served) == launch.chosen_flavour(launched) == "torch"
    assert "--model-config-name=torch" in launch.server_arguments(launched, "torch")
    assert capsys.readouterr().err == ""


def test_servers_of_jobs_and_of_the_page_choose_too(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They take one GPU, with time to compile, and log why a GPU stays unused."""
    models = tuple(MODELS)
    assert own_server(repository, models) == ServerOptions(repository, models)
    show_gpus(monkeypatch, tmp_path / "bin")
    assert own_server(repository, models) == ServerOptions(repository, models)
    assert "2 visible and unused: no torch program of wav2lip_generator" in caplog.text
    write_networks(repository, "wav2lip", "torch")
    options = own_server(repository, models, grpc_port=8001)
    assert (options.config_name, options.gpu, options.grpc_port) == ("torch", "GPU-aaaa1111", 8001)
    assert options.startup_timeout_s == COMPILE_TIMEOUT_S
