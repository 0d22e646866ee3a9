"""How fast LatentSync's full-size UNet is on a CPU, and how much memory export and serving take.

python -m perf latentsync-unet exports made-up weights, fp32, then times one chunk of 16 frames with guidance (two
branches, 256 pixels) with torch eager and with ONNX Runtime. Each stage is a process of its own, so that its peak of
memory is its own; they run one after the other, and none starts before the memory that it needs is free.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from export.latentsync.graph import Part, export, open_session
from export.latentsync.networks import UNET, load
from export.shared.model_file import model_path
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.arguments import whole_number
from perf.machine.conditions import processor_name, usable_cores

STAGES = ("export", "torch", "onnxruntime")
SHAPES = {"sample": (1, 13, 16, 32, 32), "timestep": (1, 2), "audio_tokens": (1, 16, 50, 384)}
TIMESTEP = 501.0
NEEDED_GB = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages and print what they measured."""
    parser = argparse.ArgumentParser(prog="python -m perf latentsync-unet", description=__doc__)
    parser.add_argument(
        "--runs", type=whole_number, default=1, help="after a first one that is timed apart (default: 1)"
    )
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="keep the exported model and the outputs here")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.stage:
        print(json.dumps(run_stage(options.stage, options.folder, options.runs)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        results = {stage: start_stage(stage, folder, options) for stage in STAGES}
        outputs = [np.load(folder / f"{stage}.npy") for stage in STAGES[1:]]
    print(f"{processor_name()}, {options.threads} threads, fp32, sample {SHAPES['sample']}")
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, one run of the three stages")
    for stage, result in results.items():
        print(f"{stage:12} {'   '.join(f'{name} {value:.1f}' for name, value in result.items())}")
    medians = [results[stage]["median_s"] for stage in STAGES[1:]]
    print(f"onnxruntime has {medians[0] / medians[1]:.2f} times torch's throughput (medians)")
    print(f"largest difference of their outputs: {np.abs(outputs[0] - outputs[1]).max() / outputs[0].std():.1e} of std")
    return 0


def start_stage(stage: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one stage in a process of its own.

    Raises:
        ValueError: less memory is free than a stage needs.
    """
    free_gb = available_gb()
    if free_gb < NEEDED_GB:
        raise ValueError(f"memory: expected {NEEDED_GB} GB free, got {free_gb:.1f}")
    command = [sys.executable, "-m", "perf.gpu.latentsync_unet", "--stage", stage, "--folder", str(folder)]
    command += ["--runs", str(options.runs), "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_stage(stage: str, folder: Path, runs: int) -> dict[str, float]:
    """Do one stage's work, and say how long it took and how much memory it had at most."""
    begin = time.perf_counter()
    if stage == "export":
        part = unet_part()
        shutil.copytree(DEFAULT_REPOSITORY / "unet", folder / "unet", ignore=shutil.ignore_patterns("1"))
        print(export(part, "fp32", folder))
        return {"total_s": time.perf_counter() - begin, "peak_gb": peak_gb()}
    inputs = trial_inputs()
    run = torch_run(inputs) if stage == "torch" else onnx_run(folder, inputs)
    loaded = time.perf_counter() - begin
    seconds = []
    for _ in range(1 + runs):
        begin = time.perf_counter()
        noise_pred = run()
        seconds.append(time.perf_counter() - begin)
    np.save(folder / f"{stage}.npy", noise_pred)
    measured = {"load_s": loaded, "first_s": seconds[0], "median_s": statistics.median(seconds[1:])}
    return {**measured, "peak_gb": peak_gb()}


def unet_part() -> Part:
    """Build the UNet with the recipe's weights."""
    return UNET.parts(load(UNET, None))[0]


def trial_inputs() -> dict[str, np.ndarray]:
    """Make a chunk."""
    random = np.random.default_rng(0)
    made = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    made["timestep"][:] = TIMESTEP
    return made


def torch_run(inputs: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """Load the module; the function runs it eagerly."""
    module = unet_part().module
    tensors = [torch.from_numpy(value) for value in inputs.values()]

    def run() -> np.ndarray:
        with torch.inference_mode():
            noise_pred: np.ndarray = module(*tensors)[0].numpy()
            return noise_pred

    return run


def onnx_run(folder: Path, inputs: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """Open the exported file; the function runs it."""
    session = open_session(model_path(folder, "unet"))

    def run() -> np.ndarray:
        noise_pred: np.ndarray = session.run(["noise_pred"], inputs)[0]
        return noise_pred

    return run


def available_gb() -> float:
    """Say how much memory the machine can give."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 1e6


def peak_gb() -> float:
    """Say this process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
