"""How a program is run: what the parameters of a configs/torch.pbtxt say. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("fp32", "fp16", "bf16")
COMPILE_MODES = ("eager", "default", "max-autotune")
OTHER_SHAPES = ("eager", "refuse")


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
