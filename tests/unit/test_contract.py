from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from lipsync_core.config_file import parse_contract, read_contract
from lipsync_core.contract import contract_from_json, parse_parameters
from tests.conftest import ROOT

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
ENSEMBLE = """
ensemble_scheduling { step [ {
  model_name: "crop"
  input_map { key: "frames" value: "frames" }
  output_map { key: "faces" value: "boxes" }
} ] }
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


def test_models_that_answer_streams_are_told_from_others() -> None:
    """They answer a request any number of times, so that nobody may wait for one answer."""
    head = 'backend: "python" max_batch_size: 0 '
    assert parse_contract(f"{head} model_transaction_policy {{ decoupled: true }}", "live").is_decoupled
    assert not parse_contract(head, "other").is_decoupled


def test_contract_fails_on_a_broken_config() -> None:
    """A typing error in a config is reported with the model's name."""
    with pytest.raises(ValueError, match="faces: expected a valid config.pbtxt"):
        parse_contract("inputs [", "faces")


def test_text_is_read_as_bytes() -> None:
    """TYPE_STRING becomes numpy's object arrays, as the client library has them."""
    text = 'backend: "python" input { name: "speed" data_type: TYPE_STRING dims: [ 1 ] }'
    spec = parse_contract(text, "toy").inputs[0]
    assert spec.dtype == np.object_
    assert spec.is_text


def test_contract_fails_on_a_dtype_without_a_numpy_one() -> None:
    """The message names the tensor and what is known."""
    with pytest.raises(ValueError, match="x: expected one of TYPE_BOOL, .*, TYPE_STRING, got TYPE_BF16"):
        parse_contract('input { name: "x" data_type: TYPE_BF16 dims: [ 1 ] }', "toy")


def test_contract_is_the_same_from_the_json_form() -> None:
    """Triton passes Python models the same configuration as JSON."""
    config = text_format.Parse(CONFIG + ENSEMBLE, model_config_pb2.ModelConfig())
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    contract = contract_from_json(text, "faces")
    assert contract == parse_contract(CONFIG + ENSEMBLE, "faces")
    assert contract.needs == ("crop", "one", "two")


def test_contract_is_read_without_grpc() -> None:
    """Every process of a Python model reads its contract; gRPC would take half as long again to import."""
    program = "import sys, lipsync_core.contract, lipsync_core.network_files; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
