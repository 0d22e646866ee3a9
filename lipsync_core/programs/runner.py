"""Runs a network in a chosen precision: compiled, on static shapes, as a CUDA graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lipsync_core.programs.settings import ProgramSettings, split_batch

WARM_UP_RUNS = 3  # before a CUDA graph is captured: libraries choose kernels in the first runs
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MAX_COMPILED = 64  # shapes; torch gives up after eight by default
# Processes that compile for one network, each with a torch of its own. By default there is one per core, and a server
# compiles several networks at once.
COMPILE_THREADS, COMPILE_THREADS_VARIABLE = 4, "TORCHINDUCTOR_COMPILE_THREADS"

Inputs = Sequence[Tensor]
Run = Callable[..., tuple[Tensor, ...]]
BatchlessSizes = tuple[tuple[int, ...], ...]  # shape of each input without the batch axis


class InPrecision(nn.Module):
    """A network with weights in a chosen precision, and inputs and outputs in float32.

    Autocast decides for each operation: convolutions, products and attention run in half precision, norms and
    softmax in float32, because they would overflow first.
    """

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        """Cast the network's weights in place; buffers are unchanged, and on CPUs the norms' weights too."""
        super().__init__()
        self.network = network.requires_grad_(False)
        self.dtype = DTYPES[precision]
        smallest = 2 if device.type == "cpu" else 1  # on CPUs, norms of float32 inputs need float32 weights
        _convert_weights(network, lambda weight: weight.to(self.dtype) if weight.dim() >= smallest else weight)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run on float32 inputs [B, ...]; returns float32 outputs [B, ...], or labels as they are."""
        half = self.dtype != torch.float32
        with torch.autocast(inputs[0].device.type, self.dtype, enabled=half, cache_enabled=False):
            outputs = self.network(*inputs)
        values = [outputs] if isinstance(outputs, Tensor) else outputs
        return tuple(value.float() if value.is_floating_point() else value for value in values)


class GraphedCall:
    """One static shape, captured as a CUDA graph: one launch instead of thousands."""

    def __init__(self, run: Run, examples: Inputs, pool: Any) -> None:
        """Warm up on a side stream, then capture; graphs of one pool share memory for intermediate results."""
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
        """Replay the graph on inputs [B, ...]; returns copies of its outputs [B, ...]."""
        for place, value in zip(self._inputs, inputs, strict=True):
            place.copy_(value)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


class StaticRunner:
    """Runs batches of any size as batches of the sizes that a network was compiled for."""

    def __init__(self, network: nn.Module, settings: ProgramSettings, device: torch.device) -> None:
        """Move the network to the device and cast its weights; nothing is compiled before `prepare`.

        Args:
            network: Takes tensors and returns one or several tensors.
            settings: How it runs; the shapes are passed to `prepare`.
            device: Where it runs.
        """
        if device.type == "cuda":
            torch.cuda.set_device(device)  # graphs and streams belong to the current device
            torch.backends.cudnn.benchmark = True  # static shapes: searching for fast convolutions pays off
            torch.backends.cudnn.allow_tf32 = settings.precision != "fp32"  # TF32 keeps only 10 bits of the mantissa
        self._settings = settings
        self._device = device
        self._plain: Run = InPrecision(network, settings.precision, device).to(device)
        if settings.channels_last:
            use_channels_last(network)
        self._compiled = compiled(self._plain, settings.compile)
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._static: dict[BatchlessSizes, dict[int, Run]] = {}
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the float32 weights

    def prepare(self, examples: Inputs) -> None:
        """Compile and capture for the shapes of these inputs, [B, ...] each, before a request needs them."""
        placed = [example.to(self._device) for example in examples]
        with torch.inference_mode():
            for _ in range(2):  # the first run compiles, the second one warms up
                self._compiled(*placed)
            self._wait()
        self._static.setdefault(_sizes(placed), {})[len(placed[0])] = self._compiled
        if self._settings.cuda_graph and self._device.type == "cuda":
            self.capture(placed)

    def capture(self, examples: Inputs) -> None:
        """Capture a prepared shape as a CUDA graph; examples [B, ...] as for `prepare`."""
        with torch.inference_mode():
            graphed = GraphedCall(self._compiled, examples, self._pool)
            self._wait()
        self._static[_sizes(examples)][len(examples[0])] = graphed

    def is_static(self, inputs: Inputs) -> bool:
        """Return whether inputs [N, ...] of these shapes were prepared, for any N."""
        return _sizes(inputs) in self._static

    def __call__(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Run a batch, [N, ...] for each input; returns finished outputs, [N, ...], on the device.

        Raises:
            ValueError: The shapes were not prepared, and the settings refuse others.
        """
        with torch.inference_mode():
            placed = [value.to(self._device, non_blocking=True) for value in inputs]
            runs = self._static.get(_sizes(placed))
            if runs is None:
                self._check_other(placed)
                with _without_search():
                    outputs = self._plain(*placed)
            else:
                outputs = _in_pieces(runs, placed)
            self._wait()  # the receiver may use another stream or be another process
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


@contextmanager
def _without_search() -> Generator[None, None, None]:
    """Let cuDNN take the first fast convolution: a shape that comes once is not worth trying all of them."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def compiled(run: Run, mode: str) -> Run:
    """Compile a function for each static shape separately; `eager` returns it unchanged."""
    if mode == "eager":
        return run
    if COMPILE_THREADS_VARIABLE not in os.environ:
        from torch._inductor import config  # noqa: PLC0415  (only where something is compiled)

        config.compile_threads = COMPILE_THREADS
    torch._dynamo.config.recompile_limit = MAX_COMPILED
    inductor_mode = "max-autotune-no-cudagraphs" if mode == "max-autotune" else None
    function: Run = torch.compile(run, dynamic=False, fullgraph=True, mode=inductor_mode)
    return function


def use_channels_last(network: nn.Module) -> None:
    """Store the weights of 2-D convolutions with channels last, as tensor cores read them; activations follow."""
    _convert_weights(
        network, lambda weight: weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight
    )


def _convert_weights(network: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
    """Replace weights one by one, so that memory never holds two copies of the network."""
    converted: dict[int, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in converted:
                converted[id(weight)] = nn.Parameter(convert(weight.detach()), requires_grad=False)
            setattr(module, name, converted[id(weight)])


def _in_pieces(runs: dict[int, Run], inputs: Inputs) -> tuple[Tensor, ...]:
    """Run rows in static batches; the last batch is filled up by repeating its last row."""
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
