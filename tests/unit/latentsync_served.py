"""Sends requests to LatentSync's models in a fake Triton."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lipsync_core.latentsync.alignment import affine_matrices, running_bias
from tests import fake_triton
from tests.unit.test_latentsync_faces import PHOTO, POINTS

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
NO_FACE = np.full_like(POINTS, np.nan)
FRAMES = np.repeat(PHOTO[None], 3, axis=0)
THREE_POINTS = np.stack([POINTS, NO_FACE, POINTS + 1])
MATRICES = affine_matrices(THREE_POINTS, running_bias(THREE_POINTS), 256)
SPEECH = np.random.default_rng(0).normal(0, 0.1, 16_000 * 31).astype(np.float32)
TOKENS = np.random.default_rng(3).standard_normal((3, 50, 384), np.float32)
Calls = Mapping[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]


def answer(
    name: str, request: fake_triton.Request, calls: Calls | None = None, repository: Path = Path("/nowhere")
) -> Any:
    """Load a model into the fake and send it one request."""
    fake_triton.install(calls)
    model = fake_triton.load_module(REPOSITORY / name / "1" / "model.py", f"{name}_model").TritonPythonModel()
    model.initialize(fake_triton.arguments((REPOSITORY / name / "config.pbtxt").read_text(), name, repository / name))
    return model.execute([request])[0]


def ask(
    name: str, calls: Calls | None = None, repository: Path = Path("/nowhere"), **inputs: np.ndarray
) -> dict[str, np.ndarray]:
    response = answer(name, fake_triton.Request(inputs), calls, repository)
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def error_of(name: str, calls: Calls | None = None, **inputs: np.ndarray) -> fake_triton.TritonError:
    error: fake_triton.TritonError = answer(name, fake_triton.Request(inputs), calls).error()
    return error
