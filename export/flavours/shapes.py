"""Shapes of a model's inputs, computed from a few sizes such as frames and pixels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

from export.flavours.table import Axes, Sizes
from lipsync_core.audio.rates import exact_div
from lipsync_core.contract import ModelContract

BATCH = "batch"
Resolve = Callable[[int | str], int]  # a size as flavours.toml has it -> a number


def shapes_text(contract: ModelContract, axes: Axes, sizes: Sizes, resolve: Resolve) -> str:
    """Write the shapes of all inputs as backends read them, `input=NxCxHxW`, for each combination of the sizes.

    Args:
        contract: The model; with a batch axis.
        axes: What the free axes of its inputs are.
        sizes: A size or several for each name in `axes`, and for the batch.
        resolve: Turns one size into a number.

    Returns:
        Inputs separated by blanks, combinations by semicolons.

    Raises:
        ValueError: An input has another number of free axes than `axes` says, or a size is missing.
    """
    return "; ".join(
        " ".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in input_shapes(contract, axes, chosen).items())
        for chosen in combinations(sizes, resolve)
    )


def combinations(sizes: Sizes, resolve: Resolve) -> Iterator[dict[str, int]]:
    """Choose one value for each size in all ways, the last size first; equal values count once."""
    options = [
        dict.fromkeys(resolve(value) for value in (size if isinstance(size, list) else [size]))
        for size in sizes.values()
    ]
    for values in itertools.product(*options):
        yield dict(zip(sizes, values, strict=True))


def input_shapes(contract: ModelContract, axes: Axes, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Fill in the free axes of a model's inputs; the batch comes first.

    Raises:
        ValueError: An input has another number of free axes than `axes` says, or a size is missing.
    """
    shapes = {}
    for spec in contract.inputs:
        free = axes.get(spec.name, [])
        if len(free) != spec.dims.count(-1):
            raise ValueError(
                f"{contract.name}: expected {spec.dims.count(-1)} axes for {spec.name} {list(spec.dims)}, got {free}"
            )
        values = iter([_axis(contract.name, axis, sizes) for axis in free])
        dims = (next(values) if dim == -1 else dim for dim in spec.dims)
        shapes[spec.name] = (_axis(contract.name, BATCH, sizes), *dims)
    return shapes


def _axis(model: str, axis: int | str, sizes: Mapping[str, int]) -> int:
    if isinstance(axis, int):
        return axis
    name, _, divisor = axis.partition("/")
    if name not in sizes:
        raise ValueError(f"{model}: expected the size {name!r}, got {', '.join(sizes)}")
    return exact_div(sizes[name], int(divisor or 1))
