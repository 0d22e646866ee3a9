"""The sweep's part of the report: suggested loads, transports, steps, roofline, and load curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perf.load.results import Load, Point, Results, Step
from perf.reporting.page import Block, Heading, Paragraph, Picture, Table
from perf.reporting.plots import Bar, Line, Spot, draw_bars, draw_load_curves, draw_roofline, short

NEARLY_BEST = 0.9  # of the best throughput, often at much lower latency
MODE_LABELS = {"concurrency": "requests at once", "rate": "requests per second sent"}
SMALLEST_SHARE = 0.005  # of the time of a request: shorter steps are left out
SEVERAL_CALLS = 1.5  # per request; counters also include requests in flight at the start and the end


@dataclass(frozen=True)
class Choice:
    """A model's point of best throughput, and the suggested one."""

    best: Point
    suggested: Point


def sweep_blocks(results: Results) -> list[Block]:
    """Return all sections of a sweep."""
    models = list(dict.fromkeys(load.model for load in results.points))
    return [
        *choice_blocks(results, models),
        *transport_blocks(results, models),
        *step_blocks(results, models),
        *roofline_blocks(results),
        *curve_blocks(results, models),
        *trouble_blocks(results),
    ]


def choice_blocks(results: Results, models: Sequence[str]) -> list[Block]:
    """Return the table of suggested loads."""
    chosen = {model: choose(measured_points(results, model)) for model in models}
    rows = [choice_row(model, choice) for model, choice in chosen.items()]
    marks = ["" if choice is not None else "bad" for choice in chosen.values()]
    said = (
        f"The suggested load has the lowest p95 latency among those that reach {NEARLY_BEST:.0%} of the model's best"
        " throughput. An item is a frame or an image; for audio models, the audio of a frame."
    )
    headers = ("model", "suggested load", "items/s", "p50 ms", "p95 ms", "p99 ms", "best items/s", "at")
    return [Heading("What to choose", 3), Paragraph(said), Table(headers, rows, marks)]


def choice_row(model: str, choice: Choice | None) -> tuple[str, ...]:
    """Return a model's row of the table of suggested loads."""
    if choice is None:
        return (model, "nothing measured", "", "", "", "", "", "")
    figures = choice.suggested.figures
    latencies = [f"{figures[name]:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    best = f"{choice.best.figures['items_per_s']:.1f}"
    return (
        model, load_text(choice.suggested), f"{figures['items_per_s']:.1f}", *latencies, best, load_text(choice.best)
    )  # fmt: skip


def choose(points: Sequence[Point]) -> Choice | None:
    """Choose the load to suggest, among stable points if there are any; None without points."""
    candidates = [point for point in points if point.status == "ok"] or list(points)
    if not candidates:
        return None
    best = max(candidates, key=lambda point: point.figures["items_per_s"])
    near = [p for p in candidates if p.figures["items_per_s"] >= NEARLY_BEST * best.figures["items_per_s"]]
    return Choice(best, min(near, key=lambda point: point.figures["p95_ms"]))


def transport_blocks(results: Results, models: Sequence[str]) -> list[Block]:
    """Return the plot that compares shared memory with gRPC messages, at the largest batch and the smallest load."""
    bars = []
    for model in models:
        pair = [lightest(results, model, transport) for transport in ("grpc", "shm")]
        if pair[0] and pair[1] and pair[0].load.batch == pair[1].load.batch:
            ratio = pair[1].figures["items_per_s"] / pair[0].figures["items_per_s"]
            bars.append(Bar(model, ratio, note=f", batch {pair[0].load.batch}"))
    if not bars:
        return []
    ordered = sorted(bars, key=lambda bar: -bar.value)
    said = (
        "Throughput with system shared memory, relative to gRPC messages, at the largest batch and the smallest load. "
        "Above 1, shared memory is faster; differences below the spread of the points are noise."
    )
    picture = draw_bars({"all models": ordered}, "times as many items per second through shared memory")
    return [Heading("Shared memory against gRPC", 3), Picture("transport", picture, said)]


def step_blocks(results: Results, models: Sequence[str]) -> list[Block]:
    """Return the plot of where a request's time goes on the server, for models that call others."""
    groups = {}
    for model in models:
        point = lightest(results, model, "shm") or lightest(results, model, "grpc")
        steps = [step for step in point.steps if step.model != model] if point else []
        if point and steps:
            groups[f"{model}, batch {point.load.batch}"] = step_bars(point, steps)
    if not groups:
        return []
    said = (
        "Share of a request's mean time in each model that it uses, at the largest batch and the smallest load:"
        " computing, and waiting in the queue. Computing includes the time of the models that a model calls, so shares"
        " add up to more than 100 %."
    )
    picture = draw_bars(groups, "% of the request's time on the server", ("computing", "queue"))
    return [Heading("Where a request's time goes", 3), Picture("steps", picture, said)]


def step_bars(point: Point, steps: Sequence[Step]) -> list[Bar]:
    """Return bars of the steps that take a visible share of a request, longest first."""
    requests, whole_ms = request_cost(point)
    bars = []
    for step in steps:
        calls = step.requests / requests
        computing, queue = calls * step.compute_ms, calls * step.queue_ms
        note = f" %, {short(computing + queue)} ms" + (f" in {calls:.0f} calls" if calls > SEVERAL_CALLS else "")
        if computing + queue >= SMALLEST_SHARE * whole_ms:
            bars.append(Bar(step.model, 100 * computing / whole_ms, 100 * queue / whole_ms, note))
    return sorted(bars, key=lambda bar: -(bar.value + bar.rest))


def request_cost(point: Point) -> tuple[int, float]:
    """Return the number of requests in a point's counters, and the mean milliseconds of one on the server.

    An ensemble computes nothing itself, so its time is that of its longest step.
    """
    own = next((step for step in point.steps if step.model == point.load.model), None)
    requests = own.requests if own else min(step.requests for step in point.steps)
    spent = [(step.compute_ms + step.queue_ms) * step.requests / requests for step in point.steps]
    return requests, max(max(spent), point.figures["p50_ms"])


def roofline_blocks(results: Results) -> list[Block]:
    """Return the roofline plot of the networks, and its table."""
    spots = {model: model_spots(results, model) for model in results.work}
    spots = {model: own for model, own in spots.items() if own}
    if not spots or "peak_gflop_per_s" not in results.conditions:
        return []
    peak, bandwidth = results.conditions["peak_gflop_per_s"], results.conditions["peak_gb_per_s"]
    rows = []
    for model, own in spots.items():
        work, reached = results.work[model], max(spot.gflop_per_s for spot in own)
        sizes = (f"{work.flop / 1e9:.3f}", f"{work.weight_bytes / 1e6:.1f}")
        rows.append((model, *sizes, f"{reached:.1f}", f"{reached / peak:.0%}"))
    said = (
        "Operations are those of convolutions and matrix products, counted from the network; bytes are its weights"
        " once per request, and its inputs and outputs. The roof stands above, under 'at best'."
        " Numbers at the points are batches; each is that batch's best throughput."
    )
    headers = ("network", "GFLOP per item", "weights, MB", "GFLOP/s at best", "of the peak")
    drawn = draw_roofline([spot for own in spots.values() for spot in own], peak, bandwidth)
    picture = Picture("roofline", drawn, said)
    return [Heading("Roofline", 3), picture, Table(headers, rows)]


def model_spots(results: Results, model: str) -> list[Spot]:
    """Return a network's best throughput at each batch, as work per second."""
    work, points = results.work[model], measured_points(results, model)
    spots = []
    for batch in sorted({point.load.batch for point in points}):
        best = max(point.figures["items_per_s"] for point in points if point.load.batch == batch)
        spots.append(Spot(f"{model}, batch {batch}", work.intensity(batch), best * work.flop / 1e9))
    return spots


def trouble_blocks(results: Results) -> list[Block]:
    """Return the table of crashed and unstable points."""
    troubled = [point for point in results.points.values() if point.status != "ok"]
    if not troubled:
        return []
    rows = [(str(point.load), point.status, point.note) for point in troubled]
    marks = ["bad" if point.status == "crashed" else "doubtful" for point in troubled]
    return [Heading("Crashed and unstable points", 3), Table(("load", "status", "why"), rows, marks)]


def curve_blocks(results: Results, models: Sequence[str]) -> list[Block]:
    """Return the plots of throughput and latency against load, for each model."""
    blocks: list[Block] = [Heading("Each model under load", 3)]
    for model in models:
        points = measured_points(results, model)
        for mode, x_label in MODE_LABELS.items():
            own = [point for point in points if point.load.mode == mode]
            if own:
                picture = draw_load_curves(lines_of(own), x_label, "items")
                caption = f"{model}: {gpu_text(own)}"
                blocks += [Heading(model, 4), Picture(f"{model}-{mode}", picture, caption)]
    return blocks


def lines_of(points: Sequence[Point]) -> list[Line]:
    """Return one line for each batch and transport."""
    lines = []
    for batch, transport in sorted({(point.load.batch, point.load.transport) for point in points}):
        own = [point for point in points if (point.load.batch, point.load.transport) == (batch, transport)]
        own.sort(key=lambda point: point.load.value)
        lines.append(
            Line(
                label=f"batch {batch}, {transport}",
                loads=[point.load.value for point in own],
                throughput=[point.figures["items_per_s"] for point in own],
                p50_ms=[point.figures["p50_ms"] for point in own],
                p95_ms=[point.figures["p95_ms"] for point in own],
                doubtful=[point.status == "unstable" for point in own],
            )
        )
    return lines


def gpu_text(points: Sequence[Point]) -> str:
    """Return the peak use of the GPU, if there is one."""
    seen = [point.figures for point in points if "gpu_utilization" in point.figures]
    if not seen:
        return "on the CPU"
    busiest, fullest = (max(figures[name] for figures in seen) for name in ("gpu_utilization", "gpu_memory_mb"))
    return f"GPU at most {busiest:.0f} % busy, {fullest:.0f} MB"


def measured_points(results: Results, model: str) -> list[Point]:
    """Return the points of a model that have figures."""
    return [point for point in results.points.values() if point.load.model == model and point.is_measured]


def lightest(results: Results, model: str, transport: str) -> Point | None:
    """Return the point of a model with the largest batch and the smallest load."""
    points = [point for point in measured_points(results, model) if point.load.transport == transport]
    return min(points, key=lambda point: (-point.load.batch, point.load.value), default=None)


def load_text(point: Point) -> str:
    """Return a load as text, without the name of its model."""
    load: Load = point.load
    return str(load).partition(", ")[2]
