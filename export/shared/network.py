"""Networks as the exports see them: how each is built and filled with weights, and which models it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.shared.arguments import Precision, Size
from export.shared.checkpoint import Others, Shapes, check_weights, is_counter, module_shapes
from export.shared.checkpoint_file import read_weights

TRIAL_SEED = 0

Bounds = Mapping[Precision, float]
Weights = dict[str, Tensor]

# Largest accepted difference of ONNX from torch in fp32, as a fraction of the output's root mean square; of labels, the
# share that differs
BOUNDS: Bounds = {"fp32": 1e-4, "fp16": 0.05}


@dataclass(frozen=True)
class ServedModel:
    """One model of the repository, computed by a module.

    Attributes:
        name: Folder of the model.
        module: Computes the model; takes its inputs in order and returns its outputs in order, all batched.
        free_axes: Input -> axis -> name of the axis, for axes of any size. Axes of one name have one size; an axis
            named `8*height` has a size divisible by 8.
        outputs: Names of the outputs.
        trial: Makes inputs by name, to export with and to compare on; the free sizes depend on its argument, the
            number of rows. The exporter takes any size of two or more for a free one.
        open_axes: Input or output -> axis -> name of the axis, for sizes that are fixed by the weights but free in
            config.pbtxt.
        bounds: Largest accepted difference of ONNX from torch, by precision.
    """

    name: str
    module: nn.Module
    free_axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    trial: Callable[[int], dict[str, Tensor]]
    open_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=lambda: BOUNDS)


def _same_key(key: str) -> str:
    return key


def _same_weights(weights: Weights, _keys: Mapping[str, str]) -> Weights:
    return weights


def _never(_key: str) -> bool:
    return False


def _no_copy(_key: str) -> str | None:
    return None


@dataclass(frozen=True)
class Network:
    """One set of weights, and the models that are exported from it.

    Attributes:
        title: Content of its checkpoint, in words.
        license_line: Licence of its published weights.
        build: Makes the module of a size. Its weights may be on the meta device; values that a checkpoint or the
            synthetic weights may lack are in place.
        models: Makes the models from the filled module.
        synthetic: Makes synthetic weights from the shapes by checkpoint key and a shift of the random seed.
        sizes: Sizes that it can be built in.
        shared: Whether several families use its models, so that one family's export must not change them for another.
        folder_files: Names of the checkpoint file in a published folder, in order of preference.
        checkpoint_key: Turns a key of the module into the published checkpoint's.
        rename: Gives a checkpoint's weights the keys of `checkpoint_key`, and drops weights of unused parts; it takes
            the weights and a table from module keys to checkpoint keys.
        copy_key: Names the second key under which a checkpoint holds the same weight again, if any.
        is_computed: Says of a key whether a checkpoint may lack it, as the module computes its value.
    """

    title: str
    license_line: str
    build: Callable[[Size], nn.Module]
    models: Callable[[nn.Module], list[ServedModel]]
    synthetic: Callable[[Shapes, int], dict[str, np.ndarray]]
    sizes: tuple[Size, ...] = ("full",)
    shared: bool = False
    folder_files: tuple[str, ...] = ()
    checkpoint_key: Callable[[str], str] = _same_key
    rename: Callable[[Weights, Mapping[str, str]], Weights] = _same_weights
    copy_key: Callable[[str], str | None] = _no_copy
    is_computed: Callable[[str], bool] = _never


def load_checkpoint(
    network: Network, path: Path, *, size: Size = "full", others: Mapping[str, Network] | None = None
) -> nn.Module:
    """Build a network and fill it from its checkpoint; every key and shape must match.

    A checkpoint may lack the counters of batch norms and what is computed, and may hold 1x1 convolutions for linear
    layers, or the reverse.

    Args:
        network: Network to build.
        path: Checkpoint file.
        size: Size of the network.
        others: Option -> network whose checkpoint may have been given in place of this one.

    Returns:
        The module, in float32, ready for inference.

    Raises:
        ValueError: The checkpoint does not exist, is damaged, or belongs to another network.
    """
    module, keys = _build(network, size)
    shapes = checkpoint_shapes(network, module)
    weights = _fit(network.rename(read_weights(path), keys), shapes)

    def may_lack(key: str) -> bool:
        return is_counter(key) or network.is_computed(key)

    check_weights(path, weights, shapes, network.title, _shapes_of_others(others or {}, size), may_lack)
    _check_copies(path, weights, network)
    return _fill(module, weights, keys)


def load_synthetic(network: Network, *, size: Size = "full", seed_shift: int = 0) -> nn.Module:
    """Build a network and fill it with synthetic weights.

    Args:
        network: Network to build.
        size: Size of the network.
        seed_shift: Added to the random seed.

    Returns:
        The module, in float32, ready for inference.
    """
    module, keys = _build(network, size)
    made = network.synthetic(checkpoint_shapes(network, module), seed_shift)
    return _fill(module, {key: torch.from_numpy(value) for key, value in made.items()}, keys)


def checkpoint_shapes(network: Network, module: nn.Module) -> dict[str, tuple[int, ...]]:
    """List the keys and shapes that a network's published checkpoint has.

    Args:
        network: The network.
        module: Its module, filled or not.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in module_shapes(module).items():
        name = network.checkpoint_key(key)
        copy = network.copy_key(name)
        shapes |= {name: shape} if copy is None else {name: shape, copy: shape}
    return shapes


def find_checkpoint(network: Network, path: Path, option: str) -> Path:
    """Return the checkpoint file that a path means, which may be a published folder.

    Args:
        network: Network whose checkpoint it is.
        path: File or folder.
        option: Option that the path was given with, for the message.

    Raises:
        ValueError: The folder holds no checkpoint.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in network.folder_files if (path / name).is_file()), None)
    if found is None:
        wanted = " or ".join(network.folder_files[:2])
        rule = f"a folder with {wanted}, got one without" if wanted else "a checkpoint file, got a folder"
        raise ValueError(f"{path}: expected {rule}. Give the file with {option}")
    return found


def random_inputs(*shape: int) -> Tensor:
    """Make float32 standard normal values for `ServedModel.trial`, the same for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(TRIAL_SEED + sum(shape)))


def _build(network: Network, size: Size) -> tuple[nn.Module, dict[str, str]]:
    """Build a network without its weights, and list its keys with those of the checkpoint."""
    module = network.build(size)
    return module, {key: network.checkpoint_key(key) for key in module.state_dict()}


def _fit(weights: Weights, shapes: Shapes) -> Weights:
    """Drop or add axes of length 1 at the end of a shape: a linear layer computes the same as a 1x1 convolution."""
    fitted = {}
    for key, value in weights.items():
        shape = shapes.get(key, value.shape)
        same = _without_ones(tuple(value.shape)) == _without_ones(tuple(shape)) and value.layout == torch.strided
        fitted[key] = value.reshape(shape) if same else value
    return fitted


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _fill(module: nn.Module, weights: Weights, keys: Mapping[str, str]) -> nn.Module:
    own = module.state_dict()
    state = {key: _take(weights, name, own[key]) for key, name in keys.items()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _take(weights: Weights, name: str, own: Tensor) -> Tensor:
    """Move one weight out of a checkpoint, in float32; one that it lacks keeps the module's own value."""
    if name not in weights:
        return own
    value = weights.pop(name)  # its memory is needed for the next ones
    return value.float() if value.is_floating_point() else value


def _check_copies(path: Path, weights: Weights, network: Network) -> None:
    for name, value in weights.items():
        copy = network.copy_key(name)
        if copy in weights and not torch.equal(value, weights[copy]):
            raise ValueError(
                f"{path}: expected {copy} to be a copy of {name}, got another. Give the original checkpoint"
            )


def _shapes_of_others(others: Mapping[str, Network], size: Size) -> Others:
    with torch.device("meta"):
        return {
            other.title: (option, checkpoint_shapes(other, other.build(size if size in other.sizes else "full")))
            for option, other in others.items()
        }
