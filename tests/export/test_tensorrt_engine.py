from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import onnx
import pytest
from onnx import helper

from export.__main__ import main
from export.engines import build as tensorrt_engine
from export.engines import cuda
from export.engines.build import FLAVOUR, Toolchain, build_engine, find_toolchain, read_profile
from export.engines.verify import Arrays, RunEngine, run_with_tensorrt, verify_engine
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
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
    assert "with the TensorRT of the Triton container" in line
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


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Toolchain]:
    """A generator's folder with a graph that ONNX Runtime runs, and the engine that a fake built of it."""
    folder = tmp_path / "repository" / "wav2lip_generator"
    shutil.copytree(REPOSITORY / "wav2lip_generator", folder, ignore=shutil.ignore_patterns("1"))
    (folder / "1").mkdir()
    (folder / "1" / "model.onnx").write_bytes(half_of_the_face().SerializeToString())
    toolchain = Toolchain(fake_tensorrt(), "10.9.0", "a GPU")
    build_engine(folder.parent, "wav2lip_generator", toolchain, tmp_path / "times")
    return folder.parent, toolchain


def half_of_the_face() -> onnx.ModelProto:
    """Three of the face's channels, in place of a generator."""
    sizes = [
        helper.make_tensor(name, onnx.TensorProto.INT64, [1], [number])
        for name, number in (("a", 0), ("b", 3), ("c", 1))
    ]
    values = {"mel": ["n", 1, 80, 16], "face": ["n", 6, 96, 96], "drawn": ["n", 3, 96, 96]}
    infos = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name, dims in values.items()}
    node = helper.make_node("Slice", ["face", "a", "b", "c"], ["drawn"])
    graph = helper.make_graph([node], "g", [infos["mel"], infos["face"]], [infos["drawn"]], sizes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def fake_run(shift: float = 0.0) -> RunEngine:
    """An engine that gives what the graph gives, a little off."""

    def run(engine: bytes, inputs: Arrays, outputs: Mapping[str, np.dtype]) -> tuple[Arrays, list[float]]:
        assert (engine, list(outputs)) == (b"engine", ["drawn"])
        return {"drawn": inputs["face"][:, :3] + np.float32(shift)}, [0.001, 0.002, 0.003]

    return run


def test_an_engine_is_compared_with_its_graph(built: tuple[Path, Toolchain]) -> None:
    """At the sizes that it is tuned for, with error and speed."""
    repository, toolchain = built
    line = verify_engine(repository, "wav2lip_generator", toolchain, fake_run(0.001))
    assert "wav2lip_generator: fp32, largest difference from ONNX Runtime 0.001 of" in line
    assert "median 2.00 ms" in line


@pytest.mark.parametrize("shift", [0.1, float("nan")])
def test_verify_engine_fails_where_it_is_off(built: tuple[Path, Toolchain], shift: float) -> None:
    """Overflow included; it says what to build instead."""
    with pytest.raises(ValueError, match="expected the engine within 0.01 standard deviations .*--precision fp32"):
        verify_engine(*built[:1], "wav2lip_generator", built[1], fake_run(shift))


@pytest.fixture
def parser_built(tmp_path: Path) -> tuple[Path, Toolchain]:
    """The face parser's folder with a graph that ONNX Runtime runs, and the engine that a fake built of it."""
    folder = tmp_path / "repository" / "face_parsing"
    shutil.copytree(REPOSITORY / "face_parsing", folder, ignore=shutil.ignore_patterns("1"))
    (folder / "1").mkdir()
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 512, 512])
    labels = helper.make_tensor_value_info("labels", onnx.TensorProto.UINT8, ["n", 512, 512])
    largest = helper.make_node("ArgMax", ["images"], ["largest"], axis=1, keepdims=0)
    cast = helper.make_node("Cast", ["largest"], ["labels"], to=onnx.TensorProto.UINT8)
    graph = helper.make_graph([largest, cast], "g", [images], [labels])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    toolchain = Toolchain(fake_tensorrt(), "10.9.0", "a GPU")
    build_engine(folder.parent, "face_parsing", toolchain, tmp_path / "times")
    return folder.parent, toolchain


@pytest.mark.parametrize(("wrong_rows", "passes"), [(2, True), (6, False)])
def test_labels_of_an_engine_are_counted(parser_built: tuple[Path, Toolchain], wrong_rows: int, passes: bool) -> None:
    """Of 512 rows: as numbers, 0 and 255 are far apart, and as classes just two."""

    def run(_engine: bytes, inputs: Arrays, _outputs: Mapping[str, np.dtype]) -> tuple[Arrays, list[float]]:
        labels = inputs["images"].argmax(axis=1).astype(np.uint8)
        labels[:, :wrong_rows] -= 1
        return {"labels": labels}, [0.001]

    if passes:
        line = verify_engine(parser_built[0], "face_parsing", parser_built[1], run)
        assert "largest difference from ONNX Runtime 0.0039 of the labels, bound 0.01" in line
    else:
        with pytest.raises(
            ValueError, match="expected the engine within 0.01 of the labels of ONNX Runtime, got 0.012"
        ):
            verify_engine(parser_built[0], "face_parsing", parser_built[1], run)


@pytest.mark.parametrize(
    ("version", "gpu", "message"),
    [
        ("10.9.0", "another GPU", "got one for gpu a GPU, here another GPU. Build it again here: python -m export"),
        ("10.10.1", "a GPU", "got one for tensorrt 10.9.0, here 10.10.1"),
    ],
)
def test_verify_engine_fails_on_another_machine(
    built: tuple[Path, Toolchain], version: str, gpu: str, message: str
) -> None:
    """An engine runs where it was built alone."""
    with pytest.raises(ValueError, match=message):
        verify_engine(built[0], "wav2lip_generator", Toolchain(fake_tensorrt(), version, gpu), fake_run())


def test_an_engine_stays_valid_when_the_driver_changes(built: tuple[Path, Toolchain], tmp_path: Path) -> None:
    """It belongs to the card and TensorRT; the record keeps the driver for people."""
    repository, toolchain = built
    before = dataclasses.replace(toolchain, gpu="NVIDIA H100, 9.0, 570.1")
    build_engine(repository, "wav2lip_generator", before, tmp_path / "times")
    after = dataclasses.replace(toolchain, gpu="NVIDIA H100, 9.0, 580.2")
    assert "wav2lip_generator: fp32" in verify_engine(repository, "wav2lip_generator", after, fake_run())
    other = dataclasses.replace(toolchain, gpu="NVIDIA L4, 8.9, 570.1")
    with pytest.raises(ValueError, match=r"got one for gpu NVIDIA H100, 9\.0, here NVIDIA L4, 8\.9\. Build"):
        verify_engine(repository, "wav2lip_generator", other, fake_run())


IMITATED_CUDA = """
#include <stdlib.h>
#include <string.h>
const char *cudaGetErrorString(int code) { return "out of memory"; }
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaStreamDestroy(void *stream) { free(stream); return 0; }
int cudaStreamSynchronize(void *stream) { return 0; }
int cudaMalloc(void **place, size_t size) { if (size > 1 << 20) return 2; *place = malloc(size); return 0; }
int cudaFree(void *place) { free(place); return 0; }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) { memcpy(to, from, size); return 0; }
"""


@pytest.fixture(scope="module")
def imitated_cuda(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with CUDA's functions, whose device is the host."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "cuda.c").write_text(IMITATED_CUDA)
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libcudart.so"), str(folder / "cuda.c")]
    subprocess.run(command, check=True)
    return str(folder / "libcudart.so")


def tensorrt_that_doubles(context: MagicMock) -> MagicMock:
    """An engine of an input `face` and an output `drawn`, float32 [2, 3], which runs where its tensors are."""
    places: dict[str, int] = {}

    def execute(_stream: int) -> None:
        face, drawn = ((ctypes.c_float * 6).from_address(places[name]) for name in ("face", "drawn"))
        drawn[:] = [2 * value for value in face]

    context.set_tensor_address.side_effect = places.__setitem__
    context.get_tensor_shape.return_value = (2, 3)
    context.execute_async_v3.side_effect = execute
    trt = MagicMock()
    trt.Runtime.return_value.deserialize_cuda_engine.return_value.create_execution_context.return_value = context
    return trt


def test_an_engine_runs_without_torch(imitated_cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's TensorRT image has none: memory, copies and waiting are CUDA's own functions."""
    monkeypatch.setitem(sys.modules, "torch", None)
    face, context = np.arange(6, dtype=np.float32).reshape(2, 3), MagicMock()
    trt, outputs = tensorrt_that_doubles(context), {"drawn": np.dtype(np.float32)}
    found, seconds = run_with_tensorrt(trt, b"engine", {"face": face}, outputs, imitated_cuda)
    np.testing.assert_array_equal(found["drawn"], 2 * face)
    context.set_input_shape.assert_called_once_with("face", (2, 3))
    assert len(seconds) == 10


def test_run_fails_with_cudas_words(imitated_cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without room, and a machine without CUDA's library, are told in one line."""
    face, outputs = np.zeros((1 << 20,), np.float32), {"drawn": np.dtype(np.float32)}
    with pytest.raises(ValueError, match="GPU: expected CUDA to go on, got error 2: out of memory"):
        run_with_tensorrt(tensorrt_that_doubles(MagicMock()), b"engine", {"face": face}, outputs, imitated_cuda)
    monkeypatch.setattr(cuda, "_library_names", lambda: ["/nonexistent/libcudart.so"])
    with pytest.raises(ValueError, match="CUDA: expected its runtime library libcudart.so, got none"):
        run_with_tensorrt(tensorrt_that_doubles(MagicMock()), b"engine", {"face": face}, outputs)


def test_verify_engine_fails_on_another_graph(built: tuple[Path, Toolchain]) -> None:
    """One that was exported after the engine was built, and an engine that is not the record's."""
    folder = built[0] / "wav2lip_generator" / "1"
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(ValueError, match="got one for onnx_sha256"):
        verify_engine(built[0], "wav2lip_generator", built[1], fake_run())
    (folder / "model.plan").unlink()
    with pytest.raises(
        ValueError, match="expected model.plan and model.plan.json .* Build them: python -m export engines"
    ):
        verify_engine(built[0], "wav2lip_generator", built[1], fake_run())
