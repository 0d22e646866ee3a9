"""Reads the parameters and static shapes of a torch flavour from its config. Does not depend on torch."""

from __future__ import annotations

from collections.abc import Mapping

from lipsync_core.contract import ModelContract, parse_parameters
from lipsync_core.programs.settings import ProgramSettings

Shapes = Mapping[str, tuple[int, ...]]  # input -> its shape, batch axis first


def read_settings(contract: ModelContract) -> tuple[ProgramSettings, list[Shapes]]:
    """Read the parameters of a torch flavour, and its static shapes, smallest batch first.

    Raises:
        ValueError: A parameter is missing, unknown or malformed, or does not match the model's inputs.
    """
    try:
        settings = parse_parameters(ProgramSettings, contract.parameters)
        texts = [text for text in settings.shapes.split(";") if text.strip()]
        shapes = [parse_shapes(contract, "shapes", text) for text in texts]
        if not shapes:
            raise ValueError("shapes: expected at least one, got none")
    except ValueError as error:
        raise ValueError(f"{contract.name}: {str(error).removeprefix(f'{contract.name}: ')}") from error
    return settings, sorted(shapes, key=batch_of)


def batch_of(shapes: Shapes) -> int:
    """Return the batch size of a set of shapes."""
    return next(iter(shapes.values()))[0]


def parse_shapes(contract: ModelContract, key: str, text: str) -> dict[str, tuple[int, ...]]:
    """Parse one shape per input, `input=NxCxHxW` separated by blanks, into the order of config.pbtxt.

    Raises:
        ValueError: The text is malformed, or does not match the model's inputs.
    """
    try:
        found = {
            name: tuple(int(size) for size in dims.split("x"))
            for name, _, dims in (part.partition("=") for part in text.split())
        }
    except ValueError as error:
        raise ValueError(f"{contract.name}: expected {key} like mel=1x80x16 face=1x6x96x96, got {text!r}") from error
    expected: dict[str, tuple[int, ...]] = {spec.name: (-1, *spec.dims) for spec in contract.inputs}
    agree = found.keys() == expected.keys() and all(_fits(shape, expected[name]) for name, shape in found.items())
    if not agree:
        raise ValueError(f"{contract.name}: expected {key} to fit the inputs {expected}, got {text!r}")
    return {name: found[name] for name in expected}


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, size) for size, want in zip(shape, wanted, strict=True))
