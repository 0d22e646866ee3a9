"""How a program is run: what the parameters of a configs/torch.pbtxt say. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lipsync_core.contract import ModelContract, parse_parameters

PRECISIONS = ("fp32", "fp16", "bf16")
COMPILE_MODES = ("eager", "default", "max-autotune")
OTHER_SHAPES = ("eager", "refuse")

Shapes = Mapping[str, tuple[int, ...]]  # input -> dims, the batch first


@dataclass(frozen=True)
class ProgramSettings:
    """The parameters of a torch flavour.

    Attributes:
        precision: of the weights and of convolutions, products and attention; norms and softmax stay in float32.
        compile: eager (as traced), default (torch.compile), or max-autotune (the same, kernels chosen by trial).
        shapes: what is compiled: `input=NxCxHxW` per input, separated by blanks; several, separated by semicolons.
        other_shapes: what becomes of requests with other sizes behind the batch: run as traced, or refused.
        cuda_graph: replay each static shape as one CUDA graph.
        channels_last: store the convolutions' weights with the channels last.

    Raises:
        ValueError: a value is not among those known.
    """

    precision: str
    compile: str
    shapes: str
    other_shapes: str = "eager"
    cuda_graph: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        """Check the choices."""
        for name, known in (("precision", PRECISIONS), ("compile", COMPILE_MODES), ("other_shapes", OTHER_SHAPES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def read_settings(contract: ModelContract) -> tuple[ProgramSettings, list[Shapes]]:
    """Read a torch flavour's parameters, and its static shapes, smallest batch first.

    Raises:
        ValueError: a parameter is missing, unknown, malformed, or does not agree with the model's inputs.
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
    """Say how many rows a set of shapes has."""
    return next(iter(shapes.values()))[0]


def parse_shapes(contract: ModelContract, key: str, text: str) -> dict[str, tuple[int, ...]]:
    """Read one shape per input, `input=NxCxHxW` separated by blanks, in the order of config.pbtxt.

    Raises:
        ValueError: malformed, of another number of rows per input, or not what the model takes.
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


def split_batch(rows: int, sizes: list[int]) -> list[int]:
    """Cover a number of rows by static batch sizes, ascending: the smallest that holds what is left, else the largest.

    >>> split_batch(7, [2, 4])
    [4, 4]
    """
    pieces = []
    while rows > 0:
        pieces.append(next((size for size in sizes if size >= rows), sizes[-1]))
        rows -= pieces[-1]
    return pieces


def without_batch(shapes: Shapes) -> tuple[tuple[int, ...], ...]:
    """Return each input's sizes behind the batch."""
    return tuple(shape[1:] for shape in shapes.values())


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, size) for size, want in zip(shape, wanted, strict=True))
