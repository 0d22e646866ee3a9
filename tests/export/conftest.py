from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import onnx
import onnxruntime
import pytest

from export.faces import mediapipe as faces
from export.shared.wheel import fetch_wheel
from lipsync_core.face import Network
from tests.conftest import skip_or_fail
from tests.imitation_hub import ImitationHub, run_imitation_hub

if TYPE_CHECKING:  # needs torch
    from export.shared.network import ServedModel

# Two networks of the wheel that no model of the repository uses; they hold other operators, and take other paths.
FULL_RANGE_DETECTOR = faces.TfliteNetwork(
    member="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    size=192,
    scale_offset=faces.CENTRED,
    outputs={"regressors": ("Identity", (2304, 16)), "logits": ("Identity_1", (2304,))},
)
MESH_LANDMARKS = faces.TfliteNetwork(
    member="mediapipe/modules/face_landmark/face_landmark.tflite",
    sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    size=192,
    scale_offset=faces.UNIT,
    outputs={"landmarks": ("conv2d_21", (faces.MESH_POINTS, 3)), "presence_logits": ("conv2d_31", (1,))},
)
NETWORKS = {
    "short": faces.SHORT_RANGE_DETECTOR,
    "full": FULL_RANGE_DETECTOR,
    "plain": MESH_LANDMARKS,
    "refined": faces.ATTENTION_LANDMARKS,
}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="session")
def mediapipe_wheel() -> Path:
    """The pinned wheel, from the cache or a package registry."""
    try:
        return fetch_wheel(faces.MEDIAPIPE)
    except ValueError as error:
        skip_or_fail(f"no mediapipe wheel: {error}")


@pytest.fixture(scope="session")
def converted(mediapipe_wheel: Path) -> dict[str, onnx.ModelProto]:
    """All four face networks as ONNX."""
    models = faces.convert_from_wheel(mediapipe_wheel, list(NETWORKS.values()))
    return dict(zip(NETWORKS, models, strict=True))


@pytest.fixture(scope="session")
def runs(converted: dict[str, onnx.ModelProto]) -> dict[str, Network]:
    """All four face networks, ready to be called."""
    cv2.setNumThreads(1)
    return {name: open_network(model, list(NETWORKS[name].outputs)) for name, model in converted.items()}


@pytest.fixture
def imitation_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ImitationHub]:
    """An imitation of Hugging Face that downloads come from, with empty caches and short pauses."""
    constants = pytest.importorskip("huggingface_hub", reason="no huggingface_hub; run: make test").constants
    from export.shared import hub
    from export.shared.transfer import Patience

    for name in (*PROXIES, *(name.upper() for name in PROXIES), "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hugging-face"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(hub, "PATIENCE", Patience(stall_s=0.5, tries=3, pause_s=0.01, longest_pause_s=1.0))
    with run_imitation_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        yield running


@pytest.fixture
def networks_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands read weights and write notes as ever, but take the graph from the tests' own exports: no new trace."""
    pytest.importorskip("torch", reason="no torch; run: make test")
    from export.shared import exporter
    from tests.synthetic_networks import exported_network

    def copy_graph(model: ServedModel, repository: Path, *_options: str) -> str:
        folder = repository / model.name / "1"
        folder.mkdir(exist_ok=True)
        shutil.copy(exported_network(model.name), folder)
        return str(folder / "model.onnx")

    monkeypatch.setattr(exporter, "export_model", copy_graph)


def open_network(model: onnx.ModelProto, outputs: list[str]) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda images: tuple(session.run(outputs, {"images": images}))
