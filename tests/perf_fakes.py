"""A perf_analyzer of a few lines, for tests of what surrounds the real one, and results to look at."""

from __future__ import annotations

import sys
from pathlib import Path

from perf.load.results import Load, Point, Results, Step

CONDITIONS = {
    "machine": "a processor",
    "cores": 2,
    "memory_gb": 16.0,
    "gpus": [],
    "driver": "",
    "triton": "2.51.0",
    "flavour": "default",
    "commit": "0123456789ab",
    "frame_size": 540,
    "started": "2026-01-01T00:00:00+00:00",
    "peak_gflop_per_s": 100.0,
    "peak_gb_per_s": 10.0,
}
SCRIPT = """#!{python}
import sys
arguments = sys.argv[1:]
if "--version" in arguments:
    print("fake")
    sys.exit()
{body}
report = arguments[arguments.index("-f") + 1]
value = arguments[arguments.index("--concurrency-range") + 1]
for number, throughput in enumerate({throughputs}, 1):
    print(f"  Pass [{{number}}] throughput: {{throughput}} infer/sec. Avg latency: 10 usec (std 1 usec).")
with open(report, "w") as file:
    file.write("Concurrency,Inferences/Second,Server Queue,p50 latency,p95 latency,p99 latency,Avg latency\\n")
    file.write(f"{{value}},{{sum({throughputs}) / 3}},30,9000,11000,12000,9500\\n")
"""


def write_analyzer(folder: Path, body: str = "", throughputs: tuple[float, ...] = (100, 101, 102)) -> Path:
    """Write a perf_analyzer that runs `body` first and then reports these windows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "perf_analyzer"
    path.write_text(SCRIPT.format(python=sys.executable, body=body, throughputs=list(throughputs)))
    path.chmod(0o755)
    return path


def sweep_results(factor: float = 1.0, spread: float = 0.05, **conditions: object) -> Results:
    """Results of two models at three concurrencies, `factor` times as fast as others."""
    results = Results({**CONDITIONS, **conditions})
    for model, speed in (("faces", 100.0), ("face_detector", 900.0)):
        for batch in (1, 16):
            for value in (1, 2, 4):
                load = Load(model, batch, "grpc", "concurrency", value)
                results.points[load] = measured(load, speed * factor * min(value, 2) ** 0.5, spread)
    return results


def measured(load: Load, items_per_s: float, spread: float = 0.05) -> Point:
    """A point with the figures that a measured one has."""
    latency = 1000 * load.batch * load.value / items_per_s
    figures = {
        "items_per_s": items_per_s,
        "requests_per_s": items_per_s / load.batch,
        "p50_ms": latency,
        "p90_ms": 1.1 * latency,
        "p95_ms": 1.2 * latency,
        "p99_ms": 1.5 * latency,
        "spread": spread,
    }
    steps = (Step("detect_faces", 40, 40, 1.0, 0.2, 10.0), Step("landmark_faces", 40, 40, 1.0, 1.5, 22.0))
    return Point(load, "ok", "2026-01-01T00:00:01+00:00", "", figures, steps if load.model == "faces" else ())
