"""Measures one point of a sweep: a warm-up, a run of perf_analyzer, and the server's own counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tritonclient.utils import InferenceServerException

from client.errors import ServerUnavailable
from client.servers.addresses import parse_address
from client.servers.calls import InferRequest
from client.servers.channel import open_channel
from client.servers.connection import CONNECT_TIMEOUT_S, TritonConnection
from client.servers.security import IN_THE_CLEAR
from lipsync_core.contract import ModelContract
from perf.load.perf_analyzer import AnalyzerFailed, PerfAnalyzer, SampleRequest
from perf.load.results import Load, Point, Step
from perf.machine.conditions import now
from perf.machine.gpu import GpuSampler, Look

MIN_REQUESTS = 2  # that each client should finish within one window
WINDOW_FACTORS = (1, 3)  # length of the windows at each attempt, relative to the planned one
NS_PER_MS = 1e6


@dataclass(frozen=True)
class Target:
    """A server with the model that is measured.

    Attributes:
        connection: The connection to the server.
        contract: The model's contract.
        is_alive: Returns whether the server still runs.
        gpu_look: Samples its GPUs; None without any.
    """

    connection: TritonConnection
    contract: ModelContract
    is_alive: Callable[[], bool]
    gpu_look: Look | None = None


@dataclass(frozen=True)
class Counters:
    """A model's counters since the start of the server."""

    requests: int
    executions: int
    items: int
    queue_ns: int
    compute_ns: int


def measure_point(
    analyzer: PerfAnalyzer,
    target: Target,
    load: Load,
    inputs: Mapping[str, np.ndarray],
    interval_s: float,
    max_spread: float,
) -> Point:
    """Measure one load; a run without figures becomes a crashed point.

    Raises:
        ServerUnavailable: the server does not answer any more.
        RequestRejected: the model rejects the request.
    """
    began = now()
    request, seconds = warm_up(target, load, inputs)
    window_s = max(interval_s, MIN_REQUESTS * seconds * (load.value if load.mode == "concurrency" else 1))
    before = read_counters(target.connection.url)
    with GpuSampler(target.gpu_look) as sampler:
        try:
            figures = measure_patiently(analyzer, target, load, request, window_s)
        except AnalyzerFailed as error:
            return Point(load, "crashed", began, str(error))
    steps = steps_between(before, read_counters(target.connection.url))
    time.sleep(figures["p99_ms"] / 1000)  # requests in flight end now, not during the next point
    figures |= sampler.figures
    figures["requests_per_s"] = figures.pop("inferences_per_s") / (load.batch if request.is_batched else 1)
    figures["items_per_s"] = figures["requests_per_s"] * load.batch
    stable = figures["spread"] <= max_spread
    note = "" if stable else f"the throughputs of the windows differ by {figures['spread']:.0%}"
    return Point(load, "ok" if stable else "unstable", began, note, figures, steps)


def measure_patiently(
    analyzer: PerfAnalyzer, target: Target, load: Load, request: SampleRequest, window_s: float
) -> dict[str, float]:
    """Measure; without figures once more with longer windows, since a window may stay empty on a busy machine.

    Raises:
        AnalyzerFailed: there are no figures either time.
        ServerUnavailable: the server does not answer any more.
    """
    for factor in WINDOW_FACTORS:
        try:
            return analyzer.measure(target.connection.url, load, request, factor * window_s)
        except AnalyzerFailed as error:
            if not target.is_alive():
                raise ServerUnavailable(f"the server stopped answering during {load}") from error
            failure = error
    raise failure


def warm_up(target: Target, load: Load, inputs: Mapping[str, np.ndarray]) -> tuple[SampleRequest, float]:
    """Send a request twice; returns it with the size of its outputs, and the seconds of the second one."""
    is_batched = bool(target.contract.max_batch_size)
    sent = {name: np.stack([array] * load.batch) for name, array in inputs.items()} if is_batched else inputs
    target.connection.infer(InferRequest(load.model, sent))
    begin = time.perf_counter()
    outputs = target.connection.infer(InferRequest(load.model, sent))
    seconds = time.perf_counter() - begin
    return SampleRequest(inputs, is_batched, max(output.nbytes for output in outputs.values()), tuple(outputs)), seconds


def read_counters(url: str) -> dict[str, Counters]:
    """Read the counters of all models from the server.

    Raises:
        ServerUnavailable: it does not answer.
    """
    try:
        with open_channel(parse_address(url), IN_THE_CLEAR) as client:
            statistics = client.get_inference_statistics(client_timeout=CONNECT_TIMEOUT_S).model_stats
    except InferenceServerException as error:
        raise ServerUnavailable(about=url, expected="the server's statistics", got=error.message()) from error
    counters = {}
    for model in statistics:
        spent = model.inference_stats
        compute = spent.compute_input.ns + spent.compute_infer.ns + spent.compute_output.ns
        counters[model.name] = Counters(
            spent.success.count, model.execution_count, model.inference_count, spent.queue.ns, compute
        )
    return counters


def steps_between(before: Mapping[str, Counters], after: Mapping[str, Counters]) -> tuple[Step, ...]:
    """Return what each model did between two readings of the counters."""
    steps = []
    for model, late in after.items():
        early = before.get(model, Counters(0, 0, 0, 0, 0))
        requests, executions = late.requests - early.requests, late.executions - early.executions
        if requests and executions:
            steps.append(
                Step(
                    model=model,
                    requests=requests,
                    executions=executions,
                    items_per_execution=round((late.items - early.items) / executions, 2),
                    queue_ms=round((late.queue_ns - early.queue_ns) / requests / NS_PER_MS, 4),
                    compute_ms=round((late.compute_ns - early.compute_ns) / requests / NS_PER_MS, 4),
                )
            )
    return tuple(steps)
