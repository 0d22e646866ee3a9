"""The command `faces`: exports mediapipe's face detector and landmark model, converted from its wheel."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.faces.mediapipe import (
    LICENSE_FILE,
    LICENSE_LINE,
    LICENSE_MEMBER,
    LICENSE_SHA256,
    MEDIAPIPE,
    SERVED,
    convert_from_wheel,
)
from export.shared.arguments import Command, add_repository
from export.shared.files import write_whole
from export.shared.model_file import holds_valid_model, model_path, write_model
from export.shared.wheel import check_wheel, fetch_wheel, read_members


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--wheel", type=Path, help=f"use this copy of {MEDIAPIPE.file_name} instead of downloading it")
    parser.add_argument("--if-missing", action="store_true", help="do nothing if both models exist and are valid")
    add_repository(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the models into the model repository, and print what was written.

    Raises:
        ValueError: There is no usable wheel, or a model does not agree with its config.pbtxt.
    """
    repository: Path = arguments.repository
    if arguments.if_missing and all(holds_valid_model(repository, model) for model in SERVED):
        print(f"{', '.join(SERVED)}: already there")
        return
    if arguments.wheel:
        check_wheel(arguments.wheel, MEDIAPIPE)
    wheel = arguments.wheel or fetch_wheel(MEDIAPIPE)
    license_text = read_members(wheel, {LICENSE_MEMBER: LICENSE_SHA256})[LICENSE_MEMBER]
    networks = convert_from_wheel(wheel, list(SERVED.values()))
    for model, network in zip(SERVED, networks, strict=True):
        write_whole(model_path(repository, model).with_name(LICENSE_FILE), license_text)
        print(write_model(network, repository, model))
    print(LICENSE_LINE)


COMMAND = Command(
    name="faces",
    summary="convert mediapipe's face detector and face landmarks, from its wheel",
    add_arguments=add_arguments,
    run=run,
)
