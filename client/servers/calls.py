"""What a job asks of Triton, whether one server answers or several. Opens no connection itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from client.errors import RequestRejected
from lipsync_core.contract import ModelContract

Transport = Literal["auto", "shm", "grpc"]


@dataclass(frozen=True)
class LargeOutput:
    """An output whose size is known before the request, so that it can come back through shared memory."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class InferRequest:
    """One inference request.

    Attributes:
        model: The model's name.
        inputs: Arrays by input name; optional inputs may be left out.
        large_outputs: Outputs whose dtype and shape are known, by name; the model's other outputs come as they are.
        id: What the server's log calls the request.
    """

    model: str
    inputs: Mapping[str, np.ndarray]
    large_outputs: Mapping[str, LargeOutput] = field(default_factory=dict)
    id: str = ""


class TritonCalls(Protocol):
    """What a job asks of Triton, whether of one server or of several; TritonConnection documents each call."""

    @property
    def transport(self) -> Transport:
        """How large tensors travel: shm or grpc."""

    @property
    def server_count(self) -> int:
        """How many servers share the work."""

    def contract(self, model: str) -> ModelContract:
        """Ask for a model's inputs, outputs and parameters."""

    def serves(self, model: str) -> bool:
        """Ask whether an optional model is served; False too where nobody answers."""

    def identity(self, model: str) -> str:
        """Ask which version of a model is served."""

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Run one request and wait for its answer: arrays by output name."""

    def cancel(self) -> None:
        """Give up all requests under way."""


def check_served(triton: TritonCalls, model: str, expected: str, advice: str) -> None:
    """Check that a model that a choice of the user needs is served.

    Args:
        triton: The server.
        model: The model's name.
        expected: What the server should have, for the message.
        advice: What helps, for the message.

    Raises:
        RequestRejected: It is not.
    """
    try:
        triton.contract(model)
    except RequestRejected as error:
        raise RequestRejected(about=model, expected=expected, got="one without", advice=advice) from error


def is_text(array: np.ndarray) -> bool:
    """Say whether an array holds texts (Triton's BYTES): numpy's bytes or object dtype."""
    return array.dtype.kind in "SO"
