"""The shared exporter, with a model so small that its export takes a second; the real networks have their own tests."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from torch import nn  # noqa: E402

from export.shared import graph_file  # noqa: E402
from export.shared.comparison import largest_difference  # noqa: E402
from export.shared.exporter import export_model  # noqa: E402
from export.shared.half_precision import HalfPrecision  # noqa: E402
from export.shared.network import ServedModel, random_inputs  # noqa: E402
from export.shared.onnx_graph import compare_graph  # noqa: E402
from lipsync_core.programs.runner import InPrecision  # noqa: E402

WIDTH = 24
CONFIG = f"""
backend: "onnxruntime"
max_batch_size: 8
input {{ name: "images" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }}
output {{ name: "features" data_type: TYPE_FP32 dims: [ {WIDTH}, -1, -1 ] }}
"""


def tiny(seed: int = 0) -> ServedModel:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1), nn.GroupNorm(4, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 1)
    )
    return ServedModel(
        name="tiny",
        module=module.eval().requires_grad_(False),
        free_axes={"images": {0: "batch", 2: "height", 3: "width"}},
        outputs=("features",),
        trial=lambda rows: {"images": random_inputs(rows, 3, 8 * rows, 8 * rows + 4)},
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.pbtxt").write_text(CONFIG)
    return tmp_path


def test_a_model_is_exported_in_half_precision(repository: Path) -> None:
    """Weights in float16, inputs and outputs as in config.pbtxt; size, hash and error are told."""
    lines = export_model(tiny(), repository, precision="fp16")
    path = repository / "tiny" / "1" / "model.onnx"
    content = path.read_bytes()
    assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in lines
    assert "fp16, largest difference from torch in fp32 0.00" in lines
    graph = onnx.load_from_string(content).graph
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.initializer}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    assert sorted(path.parent.iterdir()) == [path]


def test_large_weights_lie_beside_the_graph(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file named by its hash; a later export replaces both, and only both."""
    monkeypatch.setattr(graph_file, "EMBEDDED_BYTES", 0)
    folder = repository / "tiny" / "1"
    for seed in (0, 1):
        model = tiny(seed)
        lines = export_model(model, repository)
        (data,) = folder.glob("model-*.data")
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
        assert data.name == f"model-{digest[:16]}.data"
        assert digest in lines
        assert sorted(path.name for path in folder.iterdir()) == [data.name, "model.onnx"]
        assert compare_graph(folder / "model.onnx", model.module, model.trial(3)) < 1e-4


def test_export_fails_where_a_graph_is_unlike_torch(repository: Path) -> None:
    """Nothing is written then."""
    exact = dataclasses.replace(tiny(), bounds={"fp32": -1.0})
    with pytest.raises(ValueError, match="tiny: expected ONNX within -1 of the output's root mean square"):
        export_model(exact, repository)
    assert not list((repository / "tiny" / "1").iterdir())


class Labels(nn.Module):
    """Numbers each pixel by its largest channel."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny().module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).argmax(dim=1).float().to(torch.uint8)


def labels_model(module: nn.Module) -> ServedModel:
    return dataclasses.replace(tiny(), module=module.eval(), outputs=("labels",), bounds={"fp32": 1e-3, "fp16": 0.05})


@pytest.fixture
def labels_repository(repository: Path) -> Path:
    path = repository / "tiny" / "config.pbtxt"
    output = 'output { name: "labels" data_type: TYPE_UINT8 dims: [ -1, -1 ] }'
    path.write_text("\n".join([*(line for line in CONFIG.splitlines() if "output" not in line), output]))
    return repository


def test_labels_are_compared_by_their_number(labels_repository: Path) -> None:
    """Whole numbers stay whole in every format and precision, and the share that differs is told."""
    model = labels_model(Labels())
    for file_format, precision in (("onnx", "fp32"), ("onnx", "fp16"), ("torch", "fp32")):
        lines = export_model(model, labels_repository, file_format, precision)
        assert " of the labels, bound " in lines
    assert largest_difference([np.uint8([[0, 1, 2, 3]])], [np.uint8([[0, 1, 3, 3]])]) == 0.25


def test_half_precision_keeps_labels(labels_repository: Path) -> None:
    """They are numbers of classes, not values."""
    module = Labels().eval()
    images = labels_model(module).trial(2)["images"]
    with torch.inference_mode():
        for halved in (HalfPrecision(module)(images), *InPrecision(module, "bf16", torch.device("cpu"))(images)):
            assert halved.dtype == torch.uint8
            assert (halved == Labels().eval()(images)).float().mean() > 0.95


def test_export_fails_where_labels_differ(labels_repository: Path) -> None:
    """Nothing is written then."""

    class OtherInGraph(Labels):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            labels = super().forward(images)
            return labels + 1 if torch.compiler.is_exporting() else labels

    with pytest.raises(ValueError, match="tiny: expected ONNX within 0.001 of the labels of torch, got 1"):
        export_model(labels_model(OtherInGraph()), labels_repository)
    assert not list((labels_repository / "tiny" / "1").iterdir())


def test_export_fails_where_a_graph_is_unlike_its_config(repository: Path) -> None:
    """Names and sizes stand in config.pbtxt."""
    path = repository / "tiny" / "config.pbtxt"
    path.write_text(path.read_text().replace("[ 3, -1, -1 ]", "[ 4, -1, -1 ]"))
    with pytest.raises(ValueError, match=r"expected the inputs of config.pbtxt, images float32 \[-1, 4, -1, -1"):
        export_model(tiny(), repository)
