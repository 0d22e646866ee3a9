from __future__ import annotations

import shutil
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from export.__main__ import main
from export.engines import build as tensorrt_engine
from lipsync_core.repository import required_models
from lipsync_core.serving import launch
from lipsync_core.serving.engines import IMAGE_VARIABLE, engine_folder, stale_engines
from tests.conftest import REPOSITORY
from tests.export.test_tensorrt_engine import fake_tensorrt

GPU = "NVIDIA H100 80GB HBM3, 9.0, 570.1"
MODEL = "wav2lip_generator"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with the generator's configuration and a small graph."""
    folder = tmp_path / "models"
    shutil.copytree(REPOSITORY / MODEL, folder / MODEL, ignore=shutil.ignore_patterns("1"))
    (folder / MODEL / "1").mkdir()
    write_graph(folder, 1.0)
    return folder


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with a GPU and TensorRT, as far as commands and imports tell, in one of our images."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt())
    monkeypatch.setattr(tensorrt_engine, "NVIDIA_SMI", ("echo", GPU))
    monkeypatch.setenv(IMAGE_VARIABLE, "25.06-py3")
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "nvidia-smi").write_text(f"#!/bin/sh\necho '{GPU}'\n")
    (commands / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def write_graph(repository: Path, value: float, *, half: bool = True) -> None:
    kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    weights = helper.make_tensor("w", kind, [1], [value])
    graph = helper.make_model(helper.make_graph([], "g", [], [], [weights]))
    (repository / MODEL / "1" / "model.onnx").write_bytes(graph.SerializeToString())


def build(models: Path, volume: Path, *options: str) -> int:
    return main(["engines", "--repository", str(models), "--into", str(volume), *options])


def launch_arguments(models: Path, volume: Path) -> list[str]:
    options = [f"--model-repository={models}", "--models", MODEL, "--flavour=tensorrt", f"--engines={volume}"]
    return launch.server_arguments(launch.build_parser().parse_args(options), "tensorrt")


def test_an_engine_is_built_into_the_volume_and_served_from_there(models: Path, tmp_path: Path) -> None:
    """The repository stays as it was; the server gets the model's configuration with the engine."""
    before = sorted(models.rglob("*"))
    assert build(models, tmp_path / "engines") == 0
    assert sorted(models.rglob("*")) == before
    served = Path(launch_arguments(models, tmp_path / "engines")[1].removeprefix("--model-repository="))
    assert (served / MODEL / "1" / "model.plan").read_bytes() == b"engine"
    assert (served / MODEL / "config.pbtxt").read_text() == (models / MODEL / "config.pbtxt").read_text()
    assert (served / MODEL / "configs" / "tensorrt.pbtxt").is_file()


def test_engines_of_what_served_models_need_are_built(models: Path, tmp_path: Path) -> None:
    """Names of models that clients call stand for the networks behind them."""
    for name in required_models(REPOSITORY, ["wav2lip"]):
        if name != MODEL:
            shutil.copytree(REPOSITORY / name, models / name)
    assert main(["engines", "--repository", str(models), "--into", str(tmp_path / "e"), "--serving", "wav2lip"]) == 0
    assert [path.parents[1].name for path in (tmp_path / "e").rglob("model.plan")] == [MODEL]


def test_an_engine_up_to_date_is_not_built_again(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second start of a server takes no time for it; another graph does."""
    build(models, tmp_path / "engines")
    capsys.readouterr()
    assert build(models, tmp_path / "engines") == 0
    assert capsys.readouterr().out.startswith("0 built")
    write_graph(models, 2.0)
    assert build(models, tmp_path / "engines") == 0
    assert "1 built" in capsys.readouterr().out


def test_engines_are_in_half_precision_unless_asked(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph in single precision is refused before anything is built, with the export; --precision fp32 warns."""
    write_graph(models, 1.0, half=False)
    assert build(models, tmp_path / "engines") == 1
    command = "python -m export wav2lip --precision fp16 (see --help)"
    line = f"precision: expected fp16, got fp32 of {MODEL}. Export in half precision with: {command}, or choose"
    assert line in capsys.readouterr().err
    assert not list((tmp_path / "engines").rglob("model.plan"))
    assert build(models, tmp_path / "engines", "--precision", "fp32") == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"export engines: fp32 engines of {MODEL}: twice the bytes, and no half")
    assert "1 built" in said.out
    write_graph(models, 1.0)
    assert build(models, tmp_path / "engines", "--precision", "fp32") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", ["none built", "another graph", "another profile", "another GPU", "another release"])
def test_launch_fails_with_engines_of_something_else(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """An engine that does not belong here is never served; the message has the command that builds it."""
    if change != "none built":
        build(models, tmp_path / "engines")
    if change == "another graph":
        write_graph(models, 2.0)
    if change == "another profile":
        flavour = models / MODEL / "configs" / "tensorrt.pbtxt"
        flavour.write_text(flavour.read_text().replace("mel=16x1x80x16", "mel=8x1x80x16"))
    if change == "another GPU":
        (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA L4, 8.9, 570.1'\n")
    if change == "another release":
        monkeypatch.setenv(IMAGE_VARIABLE, "25.08-py3")
    with pytest.raises(ValueError, match=f"engines: expected those of {MODEL} .*python -m export engines --into"):
        launch_arguments(models, tmp_path / "engines")


def test_a_volume_has_a_folder_per_release_and_gpu(tmp_path: Path) -> None:
    """A driver's update keeps engines; another card or release has its own."""
    folder = engine_folder(tmp_path, GPU)
    assert folder == tmp_path / "25.06-py3" / "nvidia-h100-80gb-hbm3-9-0"
    assert engine_folder(tmp_path, GPU.replace("570.1", "580.2")) == folder


def test_an_interrupted_build_is_stale(models: Path, tmp_path: Path) -> None:
    """A record without its engine, or an engine without its record, counts for nothing."""
    build(models, tmp_path / "engines")
    folder = engine_folder(tmp_path / "engines", GPU)
    assert stale_engines(models, [MODEL], folder) == []
    (folder / MODEL / "1" / "model.plan").unlink()
    assert stale_engines(models, [MODEL], folder) == [MODEL]
