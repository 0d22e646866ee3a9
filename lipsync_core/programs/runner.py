"""Runs a network in a chosen precision: compiled, on static shapes, as a CUDA graph. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lipsync_core.programs.settings import ProgramSettings, split_batch

WARM_UP_RUNS = 3  # before a CUDA graph is captured: libraries choose their kernels in the first ones
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MAX_COMPILED = 64  # shapes; torch gives up after eight by default

Inputs = Sequence[Tensor]
Run = Callable[..., tuple[Tensor, ...]]
BatchlessSizes = tuple[tuple[int, ...], ...]  # of each input, the batch left out


class InPrecision(nn.Module):
    """A network whose weights are in some precision, behind inputs and outputs in float32.

    Autocast decides operation by operation: convolutions, products and attention run in half precision, norms and
    softmax in float32, where half precision would overflow first.
    """

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        """Cast the network's weights in place, one by one; its buffers stay, and on CPUs the norms' weights too."""
        super().__init__()
        self.network = network.requires_grad_(False)
        self.dtype = DTYPES[precision]
        smallest = 2 if device.type == "cpu" else 1  # a CPU's norms take float32 alone beside float32 inputs
        _convert_weights(network, lambda weight: weight.to(self.dtype) if weight.dim() >= smallest else weight)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run, and give float32."""
        half = self.dtype != torch.float32
        with torch.autocast(inputs[0].device.type, self.dtype, enabled=half, cache_enabled=False):
            outputs = self.network(*inputs)
        return tuple(value.float() for value in ([outputs] if isinstance(outputs, Tensor) else outputs))


class GraphedCall:
    """One static shape, captured as a CUDA graph: one launch in the place of thousands."""

    def __init__(self, run: Run, examples: Inputs, pool: Any) -> None:
        """Warm up beside the capture, then capture; graphs of one pool share the memory between their steps."""
        self._inputs = [example.clone() for example in examples]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                run(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._outputs = run(*self._inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Copy the inputs to where the graph reads them, replay it, and copy out what the next replay overwrites."""
        for place, value in zip(self._inputs, inputs, strict=True):
            place.copy_(value)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


class StaticRunner:
    """A network that runs batches of any number of rows as batches of the sizes it was compiled for."""

    def __init__(self, network: nn.Module, settings: ProgramSettings, device: torch.device) -> None:
        """Put the network on its device in its precision; nothing is compiled before `prepare`.

        Args:
            network: tensors in, one or several tensors out.
            settings: how it runs; its shapes are given to `prepare`.
            device: where.
        """
        if device.type == "cuda":
            torch.cuda.set_device(device)  # graphs and streams belong to the current one
            torch.backends.cudnn.benchmark = True  # shapes are static: the fastest convolutions are worth a search
            torch.backends.cudnn.allow_tf32 = settings.precision != "fp32"  # float32 is not nineteen bits of it
        self._settings = settings
        self._device = device
        self._plain: Run = InPrecision(network, settings.precision, device).to(device)
        if settings.channels_last:
            use_channels_last(network)
        self._compiled = compiled(self._plain, settings.compile)
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._static: dict[BatchlessSizes, dict[int, Run]] = {}
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what the weights took in float32

    def prepare(self, examples: Inputs) -> None:
        """Compile, and capture, for these inputs' shapes; they run from now on without."""
        placed = [example.to(self._device) for example in examples]
        with torch.inference_mode():
            for _ in range(2):  # the first run compiles, the second uses what it left behind
                self._compiled(*placed)
            self._wait()
        self._static.setdefault(_sizes(placed), {})[len(placed[0])] = self._compiled
        if self._settings.cuda_graph and self._device.type == "cuda":
            self.capture(placed)

    def capture(self, examples: Inputs) -> None:
        """Have prepared shapes replayed as a CUDA graph from now on."""
        with torch.inference_mode():
            graphed = GraphedCall(self._compiled, examples, self._pool)
            self._wait()
        self._static[_sizes(examples)][len(examples[0])] = graphed

    def is_static(self, inputs: Inputs) -> bool:
        """Say whether such inputs run as prepared, whatever their number of rows."""
        return _sizes(inputs) in self._static

    def __call__(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Run a batch; the results lie on the device and are complete.

        Raises:
            ValueError: the sizes behind the batch are none that were prepared, and others are refused.
        """
        with torch.inference_mode():
            placed = [value.to(self._device, non_blocking=True) for value in inputs]
            runs = self._static.get(_sizes(placed))
            if runs is None:
                self._check_other(placed)
                outputs = self._plain(*placed)
            else:
                outputs = _in_pieces(runs, placed)
            self._wait()  # whoever takes them may use another stream, or be another process
            return outputs

    def _check_other(self, inputs: Inputs) -> None:
        if self._settings.other_shapes == "refuse":
            known = "; ".join(str([list(size) for size in sizes]) for sizes in self._static)
            raise ValueError(
                f"shapes: expected one of {known} behind the batch, got {[list(size) for size in _sizes(inputs)]}."
                " Add it to shapes in the model's config, or set other_shapes to eager"
            )

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()


def compiled(run: Run, mode: str) -> Run:
    """Have torch compile a function for each static shape on its own; as it is with `eager`."""
    if mode == "eager":
        return run
    torch._dynamo.config.recompile_limit = MAX_COMPILED
    inductor_mode = "max-autotune-no-cudagraphs" if mode == "max-autotune" else None
    function: Run = torch.compile(run, dynamic=False, fullgraph=True, mode=inductor_mode)
    return function


def use_channels_last(network: nn.Module) -> None:
    """Store weights of two-dimensional convolutions as tensor cores read them; the activations follow."""
    _convert_weights(
        network, lambda weight: weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight
    )


def _convert_weights(network: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
    """Replace weights one by one, so that never two whole networks are in memory."""
    converted: dict[int, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in converted:
                converted[id(weight)] = nn.Parameter(convert(weight.detach()), requires_grad=False)
            setattr(module, name, converted[id(weight)])


def _in_pieces(runs: dict[int, Run], inputs: Inputs) -> tuple[Tensor, ...]:
    """Run rows in static batches; rows that are missing to a whole one repeat the last."""
    pieces, start = [], 0
    for size in split_batch(len(inputs[0]), sorted(runs)):
        part = [value[start : start + size] for value in inputs]
        rows = len(part[0])
        outputs = runs[size](*(_filled(value, size) for value in part))
        pieces.append(tuple(output[:rows] for output in outputs))
        start += size
    return pieces[0] if len(pieces) == 1 else tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def _filled(rows: Tensor, size: int) -> Tensor:
    missing = size - len(rows)
    if not missing:
        return rows.contiguous()
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


def _sizes(inputs: Inputs) -> BatchlessSizes:
    return tuple(tuple(value.shape[1:]) for value in inputs)
