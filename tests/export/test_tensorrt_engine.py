from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import onnx
import pytest
from onnx import helper

from export import tensorrt_engine
from export.__main__ import main
from export.tensorrt_engine import FLAVOUR, Toolchain, build_engine, find_toolchain, read_profile
from lipsync_core.contract import ModelContract, read_contract
from tests.conftest import REPOSITORY

MODELS = sorted(path.parent.parent.name for path in REPOSITORY.glob(f"*/configs/{FLAVOUR}.pbtxt"))
GENERATOR = read_contract(REPOSITORY / "wav2lip_generator", FLAVOUR)


def with_parameters(**changed: str | None) -> ModelContract:
    parameters = {key: text for key, text in {**GENERATOR.parameters, **changed}.items() if text is not None}
    return dataclasses.replace(GENERATOR, parameters=parameters)


def fake_tensorrt(engine: bytes | None = b"engine", parses: bool = True) -> MagicMock:
    trt = MagicMock(__version__="10.9.0")
    trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED = 2
    trt.OnnxParser.return_value.parse.return_value = parses
    trt.OnnxParser.return_value.num_errors = 1
    trt.OnnxParser.return_value.get_error.return_value = "unknown operator"
    trt.Builder.return_value.build_serialized_network.return_value = engine
    config = trt.Builder.return_value.create_builder_config.return_value
    config.get_timing_cache.return_value.serialize.return_value = b"times"
    return trt


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The generator's folder with a graph in half precision, which the fake doesn't look into."""
    folder = tmp_path / "repository" / "wav2lip_generator"
    shutil.copytree(REPOSITORY / "wav2lip_generator", folder, ignore=shutil.ignore_patterns("1"))
    weights = helper.make_tensor("w", onnx.TensorProto.FLOAT16, [1], [1.0])
    onnx_model = helper.make_model(helper.make_graph([], "g", [], [], [weights]))
    (folder / "1").mkdir()
    (folder / "1" / "model.onnx").write_bytes(onnx_model.SerializeToString())
    return folder.parent


@pytest.mark.parametrize("model", MODELS)
def test_every_flavour_has_a_profile(model: str) -> None:
    """It fits the model's inputs, and takes its largest batch."""
    contract = read_contract(REPOSITORY / model, FLAVOUR)
    profile = read_profile(contract)
    assert set(profile.opt) == {spec.name for spec in contract.inputs}
    assert {shape[0] for shape in profile.max.values()} == {contract.max_batch_size}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"profile_opt": None}, "expected the parameter profile_opt"),
        ({"profile_opt": "mel 16"}, "expected profile_opt like mel=1x80x16"),
        ({"profile_opt": "mel=16x1x80x16"}, "expected profile_opt to fit the inputs"),
        ({"profile_opt": "mel=16x1x80x16 face=16x6x96x95"}, "expected profile_opt to fit the inputs"),
        (
            {"profile_opt": "mel=99x1x80x16 face=16x6x96x96"},
            "expected profile_min <= profile_opt <= profile_max for mel",
        ),
        ({"profile_max": "mel=99x1x80x16 face=99x6x96x96"}, "expected profile_max to take max_batch_size 32 of mel"),
    ],
)
def test_read_profile_fails_on_what_does_not_fit(changed: dict[str, str | None], message: str) -> None:
    """The model and the parameter are named."""
    with pytest.raises(ValueError, match=f"wav2lip_generator: {message}"):
        read_profile(with_parameters(**changed))


def test_engines_fail_where_tensorrt_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, with the place to build them."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["engines", "wav2lip_generator"]) == 1
    line = capsys.readouterr().err
    assert "tensorrt: expected the package and its libraries" in line
    assert "in the Triton container's own TensorRT" in line
    assert line.count("\n") == 1


def test_engines_fail_for_a_model_without_flavour(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that have one are named."""
    assert main(["engines", "faces"]) == 1
    assert f"expected one with a TensorRT flavour ({', '.join(MODELS)}), got 'faces'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("/nonexistent/nvidia-smi",), ("false",), ("true",)])
def test_find_toolchain_fails_where_no_gpu_is(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """No driver, a driver that fails, and one that lists nothing."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt())
    monkeypatch.setattr(tensorrt_engine, "NVIDIA_SMI", command)
    with pytest.raises(ValueError, match="GPU: expected one that nvidia-smi shows, got"):
        find_toolchain()


def test_find_toolchain_fails_on_an_old_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strongly typed networks came with 10."""
    monkeypatch.setitem(sys.modules, "tensorrt", MagicMock(__version__="8.6.1"))
    with pytest.raises(ValueError, match=r"tensorrt: expected version 10 or newer, got 8\.6\.1"):
        find_toolchain()


def test_find_toolchain_says_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version and GPU, which an engine belongs to."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt())
    monkeypatch.setattr(tensorrt_engine, "NVIDIA_SMI", ("echo", "NVIDIA H100, 9.0, 570.1"))
    found = find_toolchain()
    assert (found.version, found.gpu) == ("10.9.0", "NVIDIA H100, 9.0, 570.1")


def test_an_engine_is_built_as_its_profile_says(repository: Path, tmp_path: Path) -> None:
    """Sizes and cache reach TensorRT; the engine lies beside the graph with what it belongs to."""
    trt, cache = fake_tensorrt(), tmp_path / "cache" / "times"
    cache.parent.mkdir()
    cache.write_bytes(b"known")
    line = build_engine(repository, "wav2lip_generator", Toolchain(trt, "10.9.0", "a GPU"), cache)
    folder = repository / "wav2lip_generator" / "1"
    builder = trt.Builder.return_value
    builder.create_network.assert_called_once_with(4)
    builder.create_optimization_profile.return_value.set_shape.assert_any_call(
        "face", (1, 6, 96, 96), (16, 6, 96, 96), (32, 6, 96, 96)
    )
    builder.create_builder_config.return_value.create_timing_cache.assert_called_once_with(b"known")
    record = json.loads((folder / "model.plan.json").read_text())
    assert (folder / "model.plan").read_bytes() == b"engine"
    assert cache.read_bytes() == b"times"
    assert (record["tensorrt"], record["gpu"], record["precision"]) == ("10.9.0", "a GPU", "fp16")
    assert record["onnx_sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert record["profile"]["opt"]["mel"] == [16, 1, 80, 16]
    assert f"6 bytes, sha256 {hashlib.sha256(b'engine').hexdigest()}, fp16" in line


@pytest.mark.parametrize(
    ("trt", "message"),
    [
        (fake_tensorrt(parses=False), "got unknown operator"),
        (fake_tensorrt(engine=None), "expected an engine, got none"),
    ],
)
def test_build_engine_fails_where_tensorrt_does(repository: Path, tmp_path: Path, trt: MagicMock, message: str) -> None:
    """Its reason is handed on, and nothing is written."""
    with pytest.raises(ValueError, match=f"wav2lip_generator: .*{message}"):
        build_engine(repository, "wav2lip_generator", Toolchain(trt, "10.9.0", "a GPU"), tmp_path / "times")
    assert not list(repository.glob("*/1/model.plan*"))


def test_build_engine_fails_before_the_model_is_exported(repository: Path, tmp_path: Path) -> None:
    """The export comes first."""
    (repository / "wav2lip_generator" / "1" / "model.onnx").unlink()
    with pytest.raises(ValueError, match="expected the exported model, got No such file or directory. Export it first"):
        build_engine(repository, "wav2lip_generator", Toolchain(fake_tensorrt(), "10.9.0", "a GPU"), tmp_path / "times")
