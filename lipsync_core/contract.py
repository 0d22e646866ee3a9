"""A model's names, shapes, dtypes and parameters, as its configuration sets them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import numpy as np

EXPORT_PARAMETER = "export"  # the arguments of `python -m export` that write the model's network
CALLS_PARAMETER = "calls"  # the models that a BLS model calls, separated by blanks
OPTIONAL_CALLS_PARAMETER = "optional_calls"  # those that it calls for some requests, and that may not be exported
# Keys that Triton's backends read themselves; they are not parameters of a Python model.
BACKEND_PARAMETERS = frozenset(
    {
        CALLS_PARAMETER,
        OPTIONAL_CALLS_PARAMETER,
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
    """A model's inputs, outputs and parameters, as in its config.pbtxt.

    `is_decoupled` says whether it answers a request any number of times, which takes a stream.
    """

    name: str
    backend: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    steps: tuple[EnsembleStep, ...] = ()
    is_decoupled: bool = False

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


def contract_from_json(text: str, name: str) -> ModelContract:
    """Parse a configuration in the JSON form that Triton passes to Python models."""
    return contract_from_fields(json.loads(text), name)


def contract_from_fields(config: Mapping[str, Any], name: str) -> ModelContract:
    """Convert the fields of a model configuration, named as in config.pbtxt, to a contract.

    Raises:
        ValueError: A tensor has a dtype that is not in NUMPY_DTYPES.
    """
    steps = tuple(
        EnsembleStep(step.get("model_name", ""), step.get("input_map", {}), step.get("output_map", {}))
        for step in config.get("ensemble_scheduling", {}).get("step", ())
    )
    return ModelContract(
        name=name,
        backend=config.get("backend") or config.get("platform", ""),
        max_batch_size=int(config.get("max_batch_size", 0)),
        inputs=tuple(_tensor_spec(tensor) for tensor in config.get("input", ())),
        outputs=tuple(_tensor_spec(tensor) for tensor in config.get("output", ())),
        parameters={key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()},
        steps=steps,
        is_decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
    )


def _tensor_spec(tensor: Mapping[str, Any]) -> TensorSpec:
    name, type_name = tensor.get("name", ""), tensor.get("data_type", "TYPE_INVALID")
    if type_name not in NUMPY_DTYPES:
        raise ValueError(f"{name}: expected one of {', '.join(NUMPY_DTYPES)}, got {type_name}")
    dims = tuple(int(size) for size in tensor.get("dims", ()))
    return TensorSpec(name, NUMPY_DTYPES[type_name], dims, bool(tensor.get("optional", False)))


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
