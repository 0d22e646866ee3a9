from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract
from lipsync_core.programs.config import batch_of, read_settings
from lipsync_core.programs.settings import split_batch
from tests.conftest import REPOSITORY

FLAVOURS = sorted(REPOSITORY.glob("*/configs/torch*.pbtxt"))
NETWORKS = [path for path in FLAVOURS if read_contract(path.parent.parent, path.stem).backend == "torch"]
GENERATOR = read_contract(REPOSITORY / "wav2lip_generator", "torch")


def changed(**parameters: str | None) -> ModelContract:
    found = {key: text for key, text in {**GENERATOR.parameters, **parameters}.items() if text is not None}
    return dataclasses.replace(GENERATOR, parameters=found)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_every_flavour_can_be_read(path: Path) -> None:
    """Its static shapes fit the model, and no larger batch than the model's is compiled."""
    contract = read_contract(path.parent.parent, path.stem)
    settings, shapes = read_settings(contract)
    assert shapes
    assert all(batch_of(sizes) <= contract.max_batch_size for sizes in shapes)
    assert settings.precision == "fp16"


def test_served_faces_are_static() -> None:
    """Chunks of the resolution that latentsync_align is set to, and of the other one, with guidance and without."""
    edge = int(read_contract(REPOSITORY / "latentsync_align").parameters["resolution"])
    frames = int(read_contract(REPOSITORY / "latentsync").parameters["num_frames"])
    _, shapes = read_settings(read_contract(REPOSITORY / "latentsync_unet", "torch"))
    sample, timestep = zip(*(list(sizes.values())[:2] for sizes in shapes), strict=True)
    sides = {shape[2:] for shape in sample}
    assert sides == {(frames, edge // 8, edge // 8), (frames, 32, 32), (frames, 64, 64)}
    assert {batch_of(sizes) for sizes in shapes} == {1}
    assert {shape[1:] for shape in timestep} == {(1,), (2,)}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"precision": "half"}, "precision: expected one of fp32, fp16, bf16, got 'half'"),
        ({"precision": None}, "parameters: expected the key 'precision', got none"),
        ({"compile": "yes"}, "compile: expected one of eager, default, max-autotune, got 'yes'"),
        ({"other_shapes": "pad"}, "other_shapes: expected one of eager, refuse, got 'pad'"),
        ({"cuda_graphs": "true"}, "parameters: expected one of precision, .* got 'cuda_graphs'"),
        ({"cuda_graph": "yes"}, "cuda_graph: expected true or false, got 'yes'"),
        ({"shapes": " "}, "shapes: expected at least one, got none"),
        ({"shapes": "mel=16x1x80x16"}, "expected shapes to fit the inputs"),
        ({"shapes": "mel=axb"}, "expected shapes like mel=1x80x16"),
    ],
)
def test_read_settings_fails_on_what_does_not_fit(parameters: dict[str, str | None], message: str) -> None:
    """The model and the parameter are named."""
    with pytest.raises(ValueError, match=f"wav2lip_generator: {message}"):
        read_settings(changed(**parameters))


@pytest.mark.parametrize(
    ("rows", "sizes", "pieces"),
    [(1, [2, 4], [2]), (2, [2, 4], [2]), (3, [2, 4], [4]), (7, [2, 4], [4, 4]), (6, [1, 4], [4, 4]), (5, [4], [4, 4])],
)
def test_rows_are_covered_by_static_batches(rows: int, sizes: list[int], pieces: list[int]) -> None:
    """By the smallest that holds what is left, else by the largest."""
    assert split_batch(rows, sizes) == pieces
