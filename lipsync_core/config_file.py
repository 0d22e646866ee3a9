"""Reads config.pbtxt, where a model's names, shapes, dtypes and parameters are set. Does not need a server."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from lipsync_core.contract import ModelContract, contract_from_fields

CONFIG_FILE = "config.pbtxt"


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


def contract_from_config(config: model_config_pb2.ModelConfig, name: str) -> ModelContract:
    """Convert Triton's configuration message, from a file or a running server, to a contract."""
    return contract_from_fields(json_format.MessageToDict(config, preserving_proto_field_name=True), name)
