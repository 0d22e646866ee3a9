"""Reads config.pbtxt, where names, shapes, dtypes and parameters are set. Does not need a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_type_hints

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

CONFIG_FILE = "config.pbtxt"
EXPORT_PARAMETER = "export"  # the arguments of `python -m export` that write the model's network
CALLS_PARAMETER = "calls"  # the models that a BLS model calls, separated by blanks
OPTIONAL_CALLS_PARAMETER = "optional_calls"  # those that it calls for some requests, and that may not be exported
# Keys that Triton's backends read themselves; they are not parameters of a Python model.
BACKEND_PARAMETERS = frozenset(
    {
        CALLS_PARAMETER,
        EXPORT_PARAMETER,
        "EXECUTION_ENV_PATH",
        "FORCE_CPU_ONLY_INPUT_TENSORS",
        "enable_mem_arena",
        "inter_op_thread_count",
        "intra_op_thread_count",
    }
)

NUMPY_DTYPES: Mapping[str, np.dtype] = {
    "TYPE_BOOL": np.dtype(np.bool_),
    "TYPE_UINT8": np.dtype(np.uint8),
    "TYPE_UINT16": np.dtype(np.uint16),
    "TYPE_UINT32": np.dtype(np.uint32),
    "TYPE_UINT64": np.dtype(np.uint64),
    "TYPE_INT8": np.dtype(np.int8),
    "TYPE_INT16": np.dtype(np.int16),
    "TYPE_INT32": np.dtype(np.int32),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_FP16": np.dtype(np.float16),
    "TYPE_FP32": np.dtype(np.float32),
    "TYPE_FP64": np.dtype(np.float64),
    "TYPE_STRING": np.dtype(np.object_),  # bytes, UTF-8 text in all of our models
}

ParametersT = TypeVar("ParametersT")


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Its name on the wire.
        dtype: Its numpy dtype; object for text.
        dims: Its shape without the batch axis, -1 for any size.
        optional: Whether a request may leave it out.
    """

    name: str
    dtype: np.dtype
    dims: tuple[int, ...]
    optional: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the tensor holds text instead of numbers."""
        return self.dtype == np.object_


@dataclasses.dataclass(frozen=True)
class EnsembleStep:
    """One model of an ensemble.

    Attributes:
        model: The model's name.
        input_map: Input of the model -> tensor of the ensemble.
        output_map: Output of the model -> tensor of the ensemble.
    """

    model: str
    input_map: Mapping[str, str]
    output_map: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class ModelContract:
    """A model's inputs, outputs and parameters, as in its config.pbtxt."""

    name: str
    backend: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    steps: tuple[EnsembleStep, ...] = ()

    @property
    def calls(self) -> tuple[str, ...]:
        """The models that this one calls while it runs (BLS)."""
        return tuple(self.parameters.get(CALLS_PARAMETER, "").split())

    @property
    def optional_calls(self) -> tuple[str, ...]:
        """The models that this one calls for some requests only, and loads without."""
        return tuple(self.parameters.get(OPTIONAL_CALLS_PARAMETER, "").split())

    @property
    def needs(self) -> tuple[str, ...]:
        """The models that this one uses directly, as steps or by calls."""
        return tuple(dict.fromkeys([*(step.model for step in self.steps), *self.calls]))


def read_contract(model_dir: Path, config_name: str | None = None) -> ModelContract:
    """Read one model's contract from its folder.

    Args:
        model_dir: The model's folder in the model repository.
        config_name: A flavour; configs/<config_name>.pbtxt is read if the model has it.

    Raises:
        ValueError: The file is missing or not a valid model configuration.
    """
    path = model_dir / CONFIG_FILE
    flavour = model_dir / "configs" / f"{config_name}.pbtxt"
    if config_name and flavour.is_file():
        path = flavour
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: expected a model configuration, got {error.strerror}") from error
    return parse_contract(text, model_dir.name)


def parse_contract(text: str, name: str) -> ModelContract:
    """Parse the text of a config.pbtxt; a model is named after its folder.

    Raises:
        ValueError: The text is not a valid model configuration.
    """
    try:
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{name}: expected a valid config.pbtxt, got {error}") from error
    return contract_from_config(config, name)


def contract_from_json(text: str, name: str) -> ModelContract:
    """Parse a configuration in the JSON form that Triton passes to Python models."""
    config = json_format.Parse(text, model_config_pb2.ModelConfig(), ignore_unknown_fields=True)
    return contract_from_config(config, name)


def contract_from_config(config: model_config_pb2.ModelConfig, name: str) -> ModelContract:
    """Convert Triton's configuration message, from a file or a running server, to a contract."""
    steps = tuple(
        EnsembleStep(step.model_name, dict(step.input_map), dict(step.output_map))
        for step in config.ensemble_scheduling.step
    )
    return ModelContract(
        name=name,
        backend=config.backend or config.platform,
        max_batch_size=config.max_batch_size,
        inputs=tuple(_tensor_spec(tensor, optional=tensor.optional) for tensor in config.input),
        outputs=tuple(_tensor_spec(tensor, optional=False) for tensor in config.output),
        parameters={key: value.string_value for key, value in config.parameters.items()},
        steps=steps,
    )


def _tensor_spec(tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput, *, optional: bool) -> TensorSpec:
    type_name = model_config_pb2.DataType.Name(tensor.data_type)
    if type_name not in NUMPY_DTYPES:
        raise ValueError(f"{tensor.name}: expected one of {', '.join(NUMPY_DTYPES)}, got {type_name}")
    return TensorSpec(tensor.name, NUMPY_DTYPES[type_name], tuple(tensor.dims), optional)


def parse_parameters(cls: type[ParametersT], parameters: Mapping[str, str]) -> ParametersT:
    """Fill a frozen dataclass from a model's `parameters`; each value is parsed by its field's type.

    Args:
        cls: A dataclass whose fields are str, int, float or bool; a field without a default is required.
        parameters: Key -> text, as in config.pbtxt; the backends' own keys are skipped.

    Raises:
        ValueError: A key is unknown or missing, or a value does not have the field's type.
    """
    given = {key: text for key, text in parameters.items() if key not in BACKEND_PARAMETERS}
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise ValueError(f"parameters: expected one of {', '.join(fields) or 'none'}, got {key!r}")
    for key, field in fields.items():
        if key not in given and field.default is dataclasses.MISSING:
            raise ValueError(f"parameters: expected the key {key!r}, got none")
    return cls(**{key: _parse_value(key, text, hints[key]) for key, text in given.items()})


def _parse_value(key: str, text: str, kind: type) -> str | int | float | bool:
    if kind is bool:
        if text not in {"true", "false"}:
            raise ValueError(f"{key}: expected true or false, got {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{key}: expected {kind.__name__}, got {text!r}") from error
