from __future__ import annotations

from pathlib import Path

import cv2
import onnx
import onnxruntime
import pytest

from export.faces import mediapipe as faces
from export.shared.wheel import fetch_wheel
from lipsync_core.face import Network

NETWORKS = {
    "short": faces.SHORT_RANGE_DETECTOR,
    "full": faces.FULL_RANGE_DETECTOR,
    "plain": faces.MESH_LANDMARKS,
    "refined": faces.ATTENTION_LANDMARKS,
}


@pytest.fixture(scope="session")
def mediapipe_wheel() -> Path:
    """The pinned wheel, from the cache or a package registry."""
    try:
        return fetch_wheel(faces.MEDIAPIPE)
    except ValueError as error:
        pytest.skip(f"no mediapipe wheel: {error}")


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


def open_network(model: onnx.ModelProto, outputs: list[str]) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda images: tuple(session.run(outputs, {"images": images}))
