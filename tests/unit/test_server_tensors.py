from __future__ import annotations

import numpy as np

from client.servers.calls import InferRequest, LargeOutput
from client.servers.shared_memory import ALIGNMENT
from client.servers.tensors import LARGE_TENSOR_BYTES, Packer, shared_nbytes

LARGE = np.arange(LARGE_TENSOR_BYTES + 1, dtype=np.uint8)
SMALL = np.zeros(3, np.float32)
TEXTS = np.array([b"x" * LARGE_TENSOR_BYTES])


class FakeRegion:
    """A region that no server has mapped."""

    name = "region"

    def __init__(self, nbytes: int) -> None:
        self.memory = np.zeros(nbytes, np.uint8)

    def view(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return np.ndarray(shape, dtype, buffer=self.memory, offset=offset)


def test_large_tensors_share_a_region() -> None:
    """They start aligned, one after the other; small ones and texts stay in the message."""
    large_output = LargeOutput(np.dtype(np.uint8), (LARGE_TENSOR_BYTES,))
    request = InferRequest("m", {"a": LARGE, "b": SMALL, "c": TEXTS, "d": LARGE}, {"out": large_output})
    region = FakeRegion(shared_nbytes(request))
    packer = Packer(region)  # type: ignore[arg-type]
    inputs = {name: packer.input(name, array) for name, array in request.inputs.items()}
    outputs = {name: packer.output(name, request.large_outputs.get(name)) for name in ("out", "other")}
    offsets = [
        tensor._get_tensor().parameters["shared_memory_offset"].int64_param
        for tensor in (inputs["a"], inputs["d"], outputs["out"])
    ]
    step = -(-len(LARGE) // ALIGNMENT) * ALIGNMENT
    assert offsets == [0, step, 2 * step]
    assert len(region.memory) == 2 * step + LARGE_TENSOR_BYTES
    np.testing.assert_array_equal(region.memory[step : step + len(LARGE)], LARGE)
    assert list(packer.views) == ["out"]
    for tensor in (inputs["b"], inputs["c"], outputs["other"]):
        assert "shared_memory_region" not in tensor._get_tensor().parameters


def test_without_a_region_everything_is_in_the_message() -> None:
    """As for a server on another host."""
    packer = Packer(None)
    tensor = packer.input("a", LARGE)
    packer.output("out", LargeOutput(np.dtype(np.uint8), (LARGE_TENSOR_BYTES,)))
    assert tensor._get_content() == LARGE.tobytes()
    assert not packer.views
