"""Checks networks' outputs, so that an overflow never becomes a black frame. Imports no torch by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_no_overflow(name: str, values: torch.Tensor, where: str) -> None:
    """Check that a network's output is finite.

    Args:
        name: The output's name, for the message.
        values: A floating-point tensor of any shape [...].
        where: Which network or step the output comes from, for the message.

    Raises:
        FloatingPointError: A value is NaN or infinite.
    """
    if not values.isfinite().all():
        raise overflow_error(name, where)


def overflow_error(name: str, where: str) -> FloatingPointError:
    """Return the error of a network's output that is not finite; arguments as above."""
    return FloatingPointError(
        f"{name}: expected finite values, got NaN or infinity {where}."
        " Half precision overflows with these weights; export the network in fp32, or set precision to bf16 or fp32"
        " in its configs/torch.pbtxt"
    )
