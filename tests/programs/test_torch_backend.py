from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import fake_triton
from tests.conftest import ROOT

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from torch import nn  # noqa: E402

from lipsync_core.programs.program import save_program  # noqa: E402

BACKEND = ROOT / "lipsync_core" / "serving" / "backends" / "torch" / "model.py"
CONFIG = """
backend: "torch"
max_batch_size: 4
input { name: "values" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] }
parameters { key: "precision" value { string_value: "PRECISION" } }
parameters { key: "compile" value { string_value: "eager" } }
parameters { key: "shapes" value { string_value: "values=2x3" } }
parameters { key: "export" value { string_value: "wav2lip --format torch" } }
"""


class Squares(nn.Module):
    """Products, which overflow half precision before float32."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.bmm(values[:, :, None], values[:, None, :]).diagonal(dim1=1, dim2=2)


def load(repository: Path, precision: str = "fp32", kind: str = "CPU", *, program: bool = True, more: str = "") -> Any:
    """Load the backend as Triton does."""
    fake_triton.install()
    fake_triton.Logger.lines.clear()
    (repository / "1").mkdir()
    if program:
        axes = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
        exported = torch.export.export(Squares(), (torch.ones(2, 3),), dynamic_shapes=axes)
        save_program(exported, repository / "1" / "model.pt2", ("values",), ("doubled",))
    model = fake_triton.load_module(BACKEND, "torch_backend").TritonPythonModel()
    arguments = fake_triton.arguments(CONFIG.replace("PRECISION", precision) + more, "toy", repository)
    model.initialize({**arguments, "model_instance_kind": kind})
    return model


def request(*rows: list[float]) -> fake_triton.Request:
    return fake_triton.Request(values=np.array(rows, np.float32))


def test_requests_are_joined_and_answered_one_by_one(tmp_path: Path) -> None:
    """Rows of several requests run together; each gets its own back; sizes that are not static are named once."""
    model = load(tmp_path)
    requests = [request([1, 2, 3]), request([4, 5, 6], [7, 8, 9]), request([1, 2]), request([3, 4])]
    for _ in range(2):
        for asked, response in zip(requests, model.execute(requests), strict=True):
            assert not response.has_error()
            assert np.array_equal(response.output_tensors()[0].as_numpy(), asked["values"] ** 2)
    assert sum("2 behind the batch is none of its static shapes" in line for line in fake_triton.Logger.lines) == 1
    assert "toy: fp32 on" in fake_triton.Logger.lines[0]


class Scales(nn.Module):
    """Takes its inputs in another order than the config below."""

    def forward(self, factor: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return values * factor


def test_inputs_are_told_apart_by_name(tmp_path: Path) -> None:
    """A program whose inputs stand in another order than in the config gets each its own, and runs as prepared."""
    fake_triton.install()
    fake_triton.Logger.lines.clear()
    (tmp_path / "1").mkdir()
    exported = torch.export.export(Scales(), (torch.ones(2, 1), torch.ones(2, 3)))
    save_program(exported, tmp_path / "1" / "model.pt2", ("factor", "values"), ("doubled",))
    config = CONFIG.replace("PRECISION", "fp32").replace("values=2x3", "values=2x3 factor=2x1")
    config += 'input { name: "factor" data_type: TYPE_FP32 dims: [ 1 ] }\n'
    model = fake_triton.load_module(BACKEND, "torch_backend").TritonPythonModel()
    model.initialize(fake_triton.arguments(config, "toy", tmp_path))
    asked = fake_triton.Request(values=np.ones((2, 3), np.float32), factor=np.array([[2], [3]], np.float32))
    (response,) = model.execute([asked])
    assert response.output_tensors()[0].as_numpy().tolist() == [[2, 2, 2], [3, 3, 3]]
    assert len(fake_triton.Logger.lines) == 1  # that it is ready; nothing of shapes that are not static


def test_refused_shape_fails_as_the_callers_mistake(tmp_path: Path) -> None:
    """Where other shapes are refused, the caller is told so; the log says neither that it runs nor that it broke."""
    refuse = 'parameters { key: "other_shapes" value { string_value: "refuse" } }\n'
    good, bad = load(tmp_path, more=refuse).execute([request([1, 2, 3]), request([1, 2])])
    assert np.array_equal(good.output_tensors()[0].as_numpy(), [[1, 4, 9]])
    assert bad.error().code() == fake_triton.TritonError.INVALID_ARG
    assert "toy: shapes: expected one of [[3]] behind the batch, got [[2]]" in bad.error().message()
    assert len(fake_triton.Logger.lines) == 1  # that it is ready


def test_overflow_fails_alone(tmp_path: Path) -> None:
    """A row that overflows half precision is an error that says what to set; its neighbours are answered."""
    good, bad = load(tmp_path, "fp16").execute([request([1, 2, 3]), request([1, 300, 3])])
    assert np.array_equal(good.output_tensors()[0].as_numpy(), [[1, 4, 9]])
    assert bad.error().code() == fake_triton.TritonError.INTERNAL
    message = bad.error().message()
    assert "toy: doubled: expected finite values, got NaN or infinity in fp16. Set precision to bf16 or fp32" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program": False}, "model.pt2, got no such file. Export it with: python -m export wav2lip --format torch"),
        ({"precision": "fp8"}, "toy: precision: expected one of fp32, fp16, bf16, got 'fp8'"),
        ({"kind": "GPU"}, "toy: GPU: expected"),
    ],
)
def test_loading_fails_with_what_to_do(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """No program, a wrong parameter, no GPU: never another flavour in silence."""
    if options.get("kind") == "GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(fake_triton.TritonModelException, match=message):
        load(tmp_path, **options)


def test_loading_fails_for_another_networks_program(tmp_path: Path) -> None:
    """Its tensors are not those of the config."""
    fake_triton.install()
    (tmp_path / "1").mkdir()
    exported = torch.export.export(Squares(), (torch.ones(2, 3),))
    save_program(exported, tmp_path / "1" / "model.pt2", ("others",), ("doubled",))
    model = fake_triton.load_module(BACKEND, "torch_backend").TritonPythonModel()
    with pytest.raises(
        fake_triton.TritonModelException,
        match=r"toy: expected inputs \['values'\] as in config.pbtxt, got \['others'\]. Export the model again with",
    ):
        model.initialize(fake_triton.arguments(CONFIG.replace("PRECISION", "fp32"), "toy", tmp_path))


def test_tensors_travel_where_they_lie() -> None:
    """On the CPU as views by numpy, elsewhere by DLPack, both ways."""
    fake_triton.install()
    from lipsync_core.triton import tensors as triton_tensors

    values = torch.arange(6.0).reshape(2, 3)
    tensor = triton_tensors.to_triton("values", values)
    assert triton_tensors.from_triton(tensor).data_ptr() == values.data_ptr()

    class OnGpu:
        def is_cpu(self) -> bool:
            return False

        def to_dlpack(self) -> Any:
            return torch.utils.dlpack.to_dlpack(values)

    assert triton_tensors.from_triton(OnGpu()).data_ptr() == values.data_ptr()
    elsewhere = values.to("meta")
    assert triton_tensors.to_triton("values", elsewhere).dlpack.device.type == "meta"
