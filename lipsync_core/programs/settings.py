"""How a program runs: the parameters of a torch flavour. Does not depend on torch."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("fp32", "fp16", "bf16")
COMPILE_MODES = ("eager", "default", "max-autotune")
OTHER_SHAPES = ("eager", "refuse")


@dataclass(frozen=True)
class ProgramSettings:
    """The parameters of a torch flavour.

    Attributes:
        precision: Precision of the weights, convolutions, products and attention; norms and softmax stay in float32.
        compile: eager (as traced), default (torch.compile), or max-autotune (kernels chosen by measuring).
        shapes: Shapes to compile: `input=NxCxHxW` per input, separated by blanks; sets separated by semicolons.
        other_shapes: Whether requests with other shapes run as traced (eager) or are refused (refuse).
        cuda_graph: Replay each static shape as one CUDA graph.
        channels_last: Store the weights of convolutions with channels last.

    Raises:
        ValueError: A value is unknown.
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


def split_batch(rows: int, sizes: list[int]) -> list[int]:
    """Split a number of rows into static batch sizes.

    Each piece is the smallest size that holds the remaining rows, or the largest size.

    Args:
        rows: Number of rows.
        sizes: Static batch sizes, ascending.

    >>> split_batch(7, [2, 4])
    [4, 4]
    """
    pieces = []
    while rows > 0:
        pieces.append(next((size for size in sizes if size >= rows), sizes[-1]))
        rows -= pieces[-1]
    return pieces
