from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lipsync_core.contract import (
    check_networks,
    missing_networks,
    parse_contract,
    parse_parameters,
    read_contract,
    required_models,
)

CONFIG = """
backend: "python"
max_batch_size: 0
input [
  { name: "frames" data_type: TYPE_UINT8 dims: [ -1, -1, -1, 3 ] },
  { name: "landmarks" data_type: TYPE_FP32 dims: [ -1, 468, 3 ] optional: true }
]
output [ { name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
parameters { key: "calls" value { string_value: "one two" } }
parameters { key: "max_faces" value { string_value: "8" } }
"""


@dataclasses.dataclass(frozen=True)
class Parameters:
    max_faces: int
    rate: float = 0.5
    enabled: bool = True


def test_contract_holds_what_the_config_says() -> None:
    """Names, dtypes, dims, optional marks and called models come out as they were written."""
    contract = parse_contract(CONFIG, "faces")
    assert [(spec.name, spec.dtype, spec.dims, spec.optional) for spec in contract.inputs] == [
        ("frames", np.uint8, (-1, -1, -1, 3), False),
        ("landmarks", np.float32, (-1, 468, 3), True),
    ]
    assert contract.calls == ("one", "two")
    assert contract.needs == ("one", "two")


def test_parameters_are_read_by_field_type() -> None:
    """Text becomes the field's type; the backends' own keys are skipped; defaults fill the rest."""
    parameters = parse_parameters(Parameters, parse_contract(CONFIG, "faces").parameters)
    assert parameters == Parameters(max_faces=8, rate=0.5, enabled=True)
    assert parse_parameters(Parameters, {"max_faces": "1", "enabled": "false"}).enabled is False


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_faces": "8", "max_face": "1"}, "got 'max_face'"),
        ({}, "expected the key 'max_faces'"),
        ({"max_faces": "many"}, "max_faces: expected int, got 'many'"),
        ({"max_faces": "8", "enabled": "False"}, "enabled: expected true or false"),
    ],
)
def test_parameters_fails_on_unknown_missing_and_misspelt(given: dict[str, str], message: str) -> None:
    """A key or value that the dataclass does not know is refused by name."""
    with pytest.raises(ValueError, match=message):
        parse_parameters(Parameters, given)


def test_flavour_replaces_the_config_where_a_model_has_it(tmp_path: Path) -> None:
    """configs/NAME.pbtxt is read instead of config.pbtxt, and only where it exists."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "config.pbtxt").write_text('backend: "onnxruntime"')
    (tmp_path / "configs" / "tensorrt.pbtxt").write_text('backend: "tensorrt"')
    assert read_contract(tmp_path, "tensorrt").backend == "tensorrt"
    assert read_contract(tmp_path, "torch").backend == "onnxruntime"


def test_required_models_lists_needed_ones_first(tmp_path: Path) -> None:
    """Ensemble steps and called models come before the model that needs them, each once."""
    ensemble = (
        'platform: "ensemble" ensemble_scheduling { step [ { model_name: "a" model_version: -1 },'
        ' { model_name: "b" model_version: -1 } ] }'
    )
    calls = 'backend: "python" parameters { key: "calls" value { string_value: "b" } }'
    for name, text in {"top": ensemble, "a": calls, "b": 'backend: "python"'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert required_models(tmp_path, ["top"]) == ["b", "a", "top"]


def test_required_models_fails_on_an_unknown_model(tmp_path: Path) -> None:
    """The message names what there is."""
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "config.pbtxt").write_text('backend: "python"')
    with pytest.raises(ValueError, match="expected one of faces .* got 'face'"):
        required_models(tmp_path, ["face"])


def test_contract_fails_on_a_broken_config() -> None:
    """A typing error in a config is reported with the model's name."""
    with pytest.raises(ValueError, match="faces: expected a valid config.pbtxt"):
        parse_contract("inputs [", "faces")


def test_models_without_their_network_are_known(tmp_path: Path) -> None:
    """A model misses what any model that it needs has not exported."""
    for name, text in {
        "network": 'backend: "onnxruntime"',
        "caller": 'backend: "python" parameters { key: "calls" value { string_value: "network" } }',
        "alone": 'backend: "python"',
    }.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert missing_networks(tmp_path, "caller") == ["network"]
    assert missing_networks(tmp_path, "alone") == []
    (tmp_path / "network" / "1" / "model.onnx").touch()
    assert missing_networks(tmp_path, "caller") == []
    (tmp_path / "network" / "configs").mkdir()
    (tmp_path / "network" / "configs" / "torch.pbtxt").write_text('backend: "torch"')
    assert missing_networks(tmp_path, "caller", "torch") == ["network"]
    (tmp_path / "network" / "1" / "model.pt2").touch()
    assert missing_networks(tmp_path, "caller", "torch") == []
    assert missing_networks(tmp_path, "caller", "other") == []


def test_check_networks_fails_with_the_command_that_writes_them(tmp_path: Path) -> None:
    """All that are missing are named in one line; with their files there is nothing to say."""
    for name in ("a", "b"):
        version = tmp_path / name / "1"
        version.mkdir(parents=True)
        text = f'backend: "onnxruntime" parameters {{ key: "export" value {{ string_value: "{name}s" }} }}'
        (tmp_path / name / "config.pbtxt").write_text(text)
    with pytest.raises(
        ValueError, match="got no model.onnx of a, b. Write them with: python -m export as, python -m export bs"
    ):
        check_networks(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        (tmp_path / name / "1" / "model.onnx").touch()
    check_networks(tmp_path, ["a", "b"])
