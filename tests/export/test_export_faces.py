from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.__main__ import main
from export.faces import mediapipe as faces
from export.faces.command import MODELS
from export.faces.onnx_writer import OnnxWriter
from export.faces.tflite_graph import Operator, Tensor, TfliteGraph, keep_needed, read_tflite
from export.faces.tflite_to_onnx import write_graph
from export.shared import wheel
from export.shared.files import write_whole
from export.shared.model_file import check_contract, model_path, write_model
from export.shared.wheel import PinnedWheel, check_wheel, fetch_wheel, read_members
from lipsync_core.config_file import read_contract
from lipsync_core.face import LANDMARK_IMAGE_SIZE, LANDMARKS, SHORT_RANGE_DETECTOR, Network
from tests.closeness import assert_close
from tests.export.conftest import NETWORKS

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
# Operators of the served networks; NVIDIA's ONNX importer lists all of them as supported.
TENSORRT_OPERATORS = {
    "Abs", "Add", "Cast", "Concat", "Conv", "Div", "Gather", "GridSample", "Identity", "LessOrEqual", "MatMul", "Max",
    "MaxPool", "Mul", "Pad", "ReduceL2", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Slice", "Sub", "Transpose",
    "Unsqueeze",
}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with the contracts of the served networks and nothing else."""
    for model in MODELS:
        (tmp_path / model / "1").mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", tmp_path / model)
    return tmp_path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_equals_its_images_one_by_one(runs: dict[str, Network], name: str) -> None:
    """Different images in a batch do not touch each other."""
    size = NETWORKS[name].size
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    together = runs[name](images)
    for index in range(len(images)):
        alone = runs[name](images[index : index + 1])
        for whole, single in zip(together, alone, strict=True):
            assert_close(whole[index], single[0], rel=1e-4)  # float32 sums may be ordered by batch size


@pytest.mark.parametrize("model", faces.SERVED)
def test_networks_and_contracts_agree(converted: dict[str, onnx.ModelProto], model: str) -> None:
    """Each served network has the inputs and outputs of its config.pbtxt."""
    name = next(name for name, network in NETWORKS.items() if network is faces.SERVED[model])
    check_contract(converted[name], read_contract(REPOSITORY / model))


def test_numbers_of_the_networks_are_those_of_the_core() -> None:
    """Sizes stand where each side needs them; this holds them together."""
    assert faces.SHORT_RANGE_DETECTOR.size == SHORT_RANGE_DETECTOR.image_size
    assert faces.ATTENTION_LANDMARKS.size == LANDMARK_IMAGE_SIZE
    assert faces.MESH_POINTS == LANDMARKS


@pytest.mark.parametrize("name", ["short", "refined"])
def test_served_networks_hold_only_operators_that_tensorrt_imports(
    converted: dict[str, onnx.ModelProto], name: str
) -> None:
    """So that an engine can be built from the same file."""
    assert {node.op_type for node in converted[name].graph.node} <= TENSORRT_OPERATORS


def test_export_writes_models_and_licences(
    repository: Path, mediapipe_wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it wrote with size, hash and licence, and leaves no unfinished file."""
    assert main(["faces", "--wheel", str(mediapipe_wheel), "--repository", str(repository)]) == 0
    printed = capsys.readouterr().out
    for model in MODELS:
        content = model_path(repository, model).read_bytes()
        assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in printed
        files = sorted(path.name for path in (repository / model / "1").iterdir())
        assert files == ["LICENSE.mediapipe", "model.onnx"]
    assert "Apache-2.0" in printed


def test_models_that_are_there_are_kept(
    repository: Path, mediapipe_wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --if-missing nothing is fetched; a damaged model is written anew."""
    arguments = ["faces", "--if-missing", "--repository", str(repository)]
    assert main([*arguments, "--wheel", str(mediapipe_wheel)]) == 0
    path = model_path(repository, "face_detector")
    good = path.read_bytes()
    monkeypatch.setattr("export.shared.wheel_command.fetch_wheel", lambda _: pytest.fail("fetched"))
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out == "face_detector, face_landmarks, mouth_cover: already there\n"
    path.write_bytes(good[:1000])
    assert main([*arguments, "--wheel", str(mediapipe_wheel)]) == 0
    assert path.read_bytes() == good


def test_the_wheel_is_kept_in_the_cache(mediapipe_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second fetch needs no network; a damaged copy is fetched again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetched = []

    def download(pinned: PinnedWheel, folder: str) -> None:
        fetched.append(pinned.file_name)
        shutil.copy(mediapipe_wheel, folder)

    monkeypatch.setattr(wheel, "_pip_download", download)
    cached = fetch_wheel(faces.MEDIAPIPE)
    assert cached.parent == tmp_path / "lipsync"
    assert fetch_wheel(faces.MEDIAPIPE) == cached
    assert len(fetched) == 1
    cached.write_bytes(b"damaged")
    check_wheel(fetch_wheel(faces.MEDIAPIPE), faces.MEDIAPIPE)
    assert len(fetched) == 2


def test_another_wheel_fails_with_both_hashes(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, exit code 1, no model."""
    foreign = tmp_path / "foreign.whl"
    foreign.write_bytes(b"something else")
    assert main(["faces", "--wheel", str(foreign), "--repository", str(repository)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"export faces: {foreign}: expected sha256 {faces.MEDIAPIPE.sha256}, got ")
    assert error.count("\n") == 1
    assert not list(repository.glob("*/1/*"))


def test_a_missing_wheel_fails_with_its_path(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As above, for a path that leads nowhere."""
    assert main(["faces", "--wheel", "/nowhere.whl", "--repository", str(repository)]) == 1
    assert "/nowhere.whl: expected the wheel mediapipe-0.10.21-" in capsys.readouterr().err


def test_a_changed_member_fails_with_both_hashes(tmp_path: Path) -> None:
    """The files inside are pinned too."""
    path = tmp_path / "wheel.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.tflite", b"changed")
    with pytest.raises(ValueError, match=r"wheel\.whl, model\.tflite: expected sha256 0+, got [0-9a-f]{64}"):
        read_members(path, {"model.tflite": "0" * 64})
    with pytest.raises(ValueError, match=r"expected a wheel with other\.tflite, got "):
        read_members(path, {"other.tflite": "0" * 64})


def test_no_registry_fails_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network the message says how to bring the wheel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected pip to download it, got: No matching distribution.*--wheel"):
        fetch_wheel(faces.MEDIAPIPE)


def test_no_pip_fails_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network is not to blame."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho $0: No module named pip >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(wheel.sys, "executable", str(python))
    with pytest.raises(
        ValueError, match=r"No module named pip\. Install it with: python -m ensurepip, or get .*--wheel"
    ):
        fetch_wheel(faces.MEDIAPIPE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a wheel", b"0000TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_a_foreign_or_damaged_file_fails_as_such(content: bytes) -> None:
    """Neither is taken for a network."""
    with pytest.raises(ValueError, match="model: expected a (whole )?TensorFlow Lite file, got"):
        read_tflite(content)


def test_an_unknown_operator_fails_by_name() -> None:
    """The message says where it would be added."""
    image = Tensor("image", (1, 8, 8, 3))
    graph = TfliteGraph((image,), (), (Operator("HARD_SWISH", (image,), (Tensor("out", (1, 8, 8, 3)),), None),))
    with pytest.raises(ValueError, match=r"got HARD_SWISH\. Add it to export/faces/tflite_to_onnx\.py"):
        write_graph(OnnxWriter(), graph, "images")


def test_an_unknown_output_fails_by_name() -> None:
    """A tensor that no operator computes cannot be asked for."""
    with pytest.raises(ValueError, match="output: expected a tensor that the graph computes, got 'lips'"):
        keep_needed(TfliteGraph((), (), ()), ["lips"])


def test_a_network_that_differs_from_its_contract_fails(
    converted: dict[str, onnx.ModelProto], repository: Path
) -> None:
    """The message shows both sides, and nothing is written."""
    with pytest.raises(ValueError, match=r"face_landmarks: expected the inputs of config\.pbtxt, .*192.*got .*128"):
        write_model(converted["short"], repository, "face_landmarks")
    assert not model_path(repository, "face_landmarks").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """Neither half a file nor a stray one."""
    path = tmp_path / "model.onnx"
    write_whole(path, b"good")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]
