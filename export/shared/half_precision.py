"""Turns a network into half precision without changing its inputs and outputs. Needs torch only."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


class HalfPrecision(nn.Module):
    """A network in half precision behind the float32 inputs and outputs of its contract.

    Its norms stay in float32, as their sums of squares are the first values to overflow half precision. TensorRT
    engines take the precision of each layer from the graph.
    """

    def __init__(self, network: nn.Module) -> None:
        """Halve a copy of the network, weight by weight: a whole copy in full precision may not fit into memory."""
        super().__init__()
        halved = {
            id(weight): nn.Parameter(weight.detach().half(), requires_grad=False) for weight in network.parameters()
        }
        self.network = copy.deepcopy(network, dict[int, Any](halved)).half()  # takes these for copies already made
        for module in self.network.modules():
            if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                _keep_in_float32(module)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network on inputs cast to half precision; integer inputs stay as they are.

        Returns:
            The network's outputs, float32; labels stay whole numbers.
        """
        halved = (value.half() if value.is_floating_point() else value for value in inputs)
        outputs = self.network(*halved)
        return _in_float32(outputs) if isinstance(outputs, Tensor) else tuple(map(_in_float32, outputs))


def _in_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _keep_in_float32(module: nn.Module) -> None:
    """Let a module of a halved network compute in float32, between casts."""
    module.float()
    module.register_forward_pre_hook(lambda _module, inputs: tuple(value.float() for value in inputs))
    module.register_forward_hook(lambda _module, _inputs, output: output.half())
