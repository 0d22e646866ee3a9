"""Pictures to fit on: frames of clips, with and without drawn covers, as filmed and changed, and their features."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

from client.media import VideoSource
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.finder import MEDIAPIPE
from export.faces.cover import MODEL
from export.mouth_cover.covers import COVERS
from export.mouth_cover.fit import Sample
from lipsync_core.mouth import mouth_windows
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER

FRAMES = (10, 50)  # of each clip
COVERS_PER_FRAME = 2
CHANGES = 3  # of light and so on, per picture
Features = Callable[[np.ndarray, np.ndarray], np.ndarray]  # frame, landmarks -> float64 [512]


def read_clip(triton: TritonCalls, speaker: str, path: Path, features: Features, seed: int) -> Iterator[Sample]:
    """Yield the samples of one clip; frames in which no face is found are left out.

    Args:
        triton: A server with the model `faces`.
        speaker: Who speaks in it.
        path: The clip.
        features: From `open_features`.
        seed: Seed of all random numbers; those of a clip depend on its name too, and not on other clips.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{speaker}/{path.stem}".encode())])
    for frame in VideoSource(path).frames():
        if frame.index > max(FRAMES):
            return
        if frame.index not in FRAMES:
            continue
        filmed = np.ascontiguousarray(frame.picture.rgb())
        landmarks = find_landmarks(triton, filmed)
        if landmarks is None:
            continue
        yield from _samples(speaker, "", filmed, landmarks, features, rng)
        for cover in rng.choice(list(COVERS), COVERS_PER_FRAME, replace=False):
            drawn = COVERS[cover](filmed, landmarks, rng)
            seen = find_landmarks(triton, drawn)
            if seen is not None:
                yield from _samples(speaker, str(cover), drawn, seen, features, rng)


def find_landmarks(triton: TritonCalls, frame: np.ndarray) -> np.ndarray | None:
    """Return the landmarks of the largest face in a frame, float32 [468, 3]; None without a face."""
    found = triton.infer(InferRequest(MEDIAPIPE.model, {"frames": frame[None]}))["landmarks"][0]
    return None if not len(found) or np.isnan(found[0]).any() else found[0]


def open_features(repository: Path) -> Features:
    """Load the network `mouth_cover` as what gives the features that its judgement is made from.

    Raises:
        ValueError: it was not exported.
    """
    path = repository / MODEL / VERSION_FOLDER / NETWORK_FILES["onnxruntime"]
    if not path.is_file():
        raise ValueError(f"{path}: expected the network {MODEL}, got none. Run: python -m export faces")
    network = onnx.load(path)
    judged = next(node for node in reversed(network.graph.node) if node.op_type == "MatMul")
    network.graph.output.append(onnx.helper.make_tensor_value_info(judged.input[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])

    def features(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        images, places = mouth_windows(frame[None], landmarks[None])
        (found,) = session.run([judged.input[0]], {"images": images, "places": places})
        return np.asarray(found[0], np.float64)

    return features


def changed(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change light, white balance, contrast, sharpness, noise and compression of a frame, uint8 RGB [h, w, 3]."""
    lit = np.clip(frame * rng.uniform(0.5, 1.25) * (1 + rng.normal(0, 0.05, 3)) / 255, 0, 1) ** rng.uniform(0.8, 1.25)
    if rng.random() < 0.4:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 1.5)), np.float64)
    noisy = np.clip(255 * lit + rng.normal(0, rng.uniform(0, 5), lit.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        noisy = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return noisy


def _samples(
    speaker: str, cover: str, frame: np.ndarray, landmarks: np.ndarray, features: Features, rng: np.random.Generator
) -> Iterator[Sample]:
    yield Sample(speaker, cover, False, features(frame, landmarks))
    for _ in range(CHANGES):
        yield Sample(speaker, cover, True, features(changed(frame, rng), landmarks))
