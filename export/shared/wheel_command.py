"""Makes the command that exports models whose networks lie in a Python wheel, with the wheel's licence beside them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from export.shared.arguments import Command, add_repository
from export.shared.files import write_whole
from export.shared.model_file import holds_valid_model, model_path, write_model
from export.shared.wheel import PinnedWheel, check_wheel, fetch_wheel, read_members
from lipsync_core.repository import check_models


@dataclass(frozen=True)
class WheelLicence:
    """Licence of the networks in a wheel.

    Attributes:
        line: What is printed, with the licence's name and the holder.
        member: Path of its text in the wheel.
        sha256: Hash of that file.
        file_name: Name of the copy beside each model.
    """

    line: str
    member: str
    sha256: str
    file_name: str


@dataclass(frozen=True)
class WheelModels:
    """Models whose networks lie in one wheel.

    Attributes:
        wheel: The wheel.
        licence: Its licence.
        models: Names of the models in the model repository.
        read: Reads their networks from the wheel, in the order of `models`.
    """

    wheel: PinnedWheel
    licence: WheelLicence
    models: tuple[str, ...]
    read: Callable[[Path], list[onnx.ModelProto]]


def wheel_command(name: str, summary: str, source: WheelModels) -> Command:
    """Make the command that writes these models into the model repository."""
    return Command(
        name=name,
        summary=summary,
        add_arguments=lambda parser: _add_arguments(parser, source),
        run=lambda arguments: _run(arguments, source),
    )


def _add_arguments(parser: argparse.ArgumentParser, source: WheelModels) -> None:
    file_name, count = source.wheel.file_name, len(source.models)
    there = "the model exists and is" if count == 1 else "all models exist and are"
    parser.add_argument("--wheel", type=Path, help=f"use this copy of {file_name} instead of downloading it")
    parser.add_argument("--if-missing", action="store_true", help=f"do nothing if {there} valid")
    add_repository(parser)


def _run(arguments: argparse.Namespace, source: WheelModels) -> None:
    """Write the models into the model repository, and print what was written.

    Raises:
        ValueError: There is no usable wheel, or a model does not agree with its config.pbtxt.
    """
    repository: Path = arguments.repository
    if arguments.if_missing and all(holds_valid_model(repository, model) for model in source.models):
        print(f"{', '.join(source.models)}: already there")
        return
    check_models(repository, list(source.models))
    licence = source.licence
    print(licence.line, flush=True)
    if arguments.wheel:
        check_wheel(arguments.wheel, source.wheel)
    wheel = arguments.wheel or fetch_wheel(source.wheel)
    text = read_members(wheel, {licence.member: licence.sha256})[licence.member]
    for model, network in zip(source.models, source.read(wheel), strict=True):
        write_whole(model_path(repository, model).with_name(licence.file_name), text)
        print(write_model(network, repository, model))
