from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="no onnx; run: make setup")

import onnx

from lipsync_core.config_file import read_contract
from perf.reporting.roofline import count_work, served_work


def write_network(path: Path) -> Path:
    """A convolution, a transposed one and a product behind a reshape whose size the graph computes itself."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = {"filters": (8, 3, 3, 3), "wider": (8, 4, 2, 2), "matrix": (64, 5)}
    tensors = [
        helper.make_tensor(name, float32, dims, np.ones(dims, np.float32).tobytes(), raw=True)
        for name, dims in weights.items()
    ]
    tensors.append(helper.make_tensor("tail", onnx.TensorProto.INT64, [1], [-1]))
    tensors.append(helper.make_tensor("first", onnx.TensorProto.INT64, [1], [0]))
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["convolved", "wider"], ["larger"], strides=[2, 2]),
        helper.make_node("Shape", ["larger"], ["size"]),
        helper.make_node("Gather", ["size", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "tail"], ["flat_size"], axis=0),
        helper.make_node("Reshape", ["larger", "flat_size"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", float32, ["n", 3, "h", "w"])
    scores = helper.make_tensor_value_info("scores", float32, ["n", 5])
    graph = helper.make_graph(nodes, "small", [image], [scores], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def test_work_is_counted_from_the_graph(tmp_path: Path) -> None:
    """Two operations per multiply-add of convolutions and products; bytes of weights, inputs and outputs."""
    work = count_work(write_network(tmp_path / "model.onnx"), {"image": (1, 3, 2, 2)})
    convolution, transposed, product = 8 * 4 * 27, 8 * 4 * 4 * 4, 64 * 5
    assert work.flop == 2 * (convolution + transposed + product)
    assert work.weight_bytes == 4 * (8 * 27 + 8 * 16 + 64 * 5) + 2 * 8
    assert work.item_bytes == 4 * (12 + 5)
    assert work.intensity(10) == pytest.approx(10 * work.flop / (work.weight_bytes + 10 * work.item_bytes))


def test_a_served_network_is_counted_at_the_size_that_is_sent(model_repository: Path) -> None:
    """The detector's work for one image; a model that is no network has none."""
    images = np.ones((128, 128, 3), np.uint8)
    work = served_work(model_repository, read_contract(model_repository / "face_detector"), {"images": images})
    assert work is not None
    assert 50e6 < work.flop < 80e6  # BlazeFace's short-range detector: about 31 million multiply-adds
    assert work.item_bytes == images.nbytes + 4 * 896 * 17
    assert served_work(model_repository, read_contract(model_repository / "faces"), {}) is None
