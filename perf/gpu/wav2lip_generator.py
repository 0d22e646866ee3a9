"""How fast the Wav2Lip generator alone is: ONNX Runtime against torch, fp32, both in one run, taking turns.

python -m perf wav2lip-generator uses made-up weights, or real ones with --checkpoint. What is timed is the file that
`python -m export wav2lip` writes, with as many threads for either side; the served model's own count stands in
model_repository/wav2lip_generator/config.pbtxt.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from export.shared.model_file import model_path
from export.wav2lip.networks import GENERATOR, export, load, trial_inputs
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.arguments import whole_number
from perf.machine.conditions import processor_name, usable_cores

WARM_UP_RUNS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print both."""
    parser = argparse.ArgumentParser(prog="python -m perf wav2lip-generator", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="real weights")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=whole_number, default=15, metavar="N", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores")
    options = parser.parse_args(argv)
    module = load(GENERATOR, options.checkpoint)
    inputs = {name: value.numpy() for name, value in trial_inputs(GENERATOR, options.batch).items()}
    with tempfile.TemporaryDirectory() as folder:
        session = exported_session(module, Path(folder), options.threads)
    torch.set_num_threads(options.threads)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "torch": lambda: run_torch(module, inputs),
        "onnxruntime": lambda: session.run(None, inputs)[0],
    }
    difference = float(np.abs(runs["torch"]() - runs["onnxruntime"]()).max())
    seconds = take_turns(runs, options.runs)
    print(f"{processor_name()}, {options.threads} threads, batch {options.batch}, fp32")
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {options.runs} runs each, taking turns")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:12} median {median:.3f} s   min {min(values):.3f} s   {options.batch / median:6.1f} frames/s")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"onnxruntime has {medians['torch'] / medians['onnxruntime']:.2f} times torch's throughput (medians)")
    print(f"largest difference of their outputs (0..1): {difference:.1e}")
    return 0


def exported_session(module: nn.Module, folder: Path, threads: int) -> onnxruntime.InferenceSession:
    """Export the generator as the command does, into a folder of its own, and open it."""
    shutil.copytree(DEFAULT_REPOSITORY / GENERATOR.model, folder / GENERATOR.model, ignore=shutil.ignore_patterns("1"))
    export(GENERATOR, module, "fp32", folder)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads
    session_options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # as served; torch's turn is its own
    path = str(model_path(folder, GENERATOR.model))
    return onnxruntime.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])


def run_torch(module: nn.Module, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Run the module as it was loaded."""
    with torch.inference_mode():
        drawn: np.ndarray = module(*(torch.from_numpy(value) for value in inputs.values())).numpy()
        return drawn


def take_turns(runs: dict[str, Callable[[], np.ndarray]], count: int) -> dict[str, list[float]]:
    """Time each, one after the other, so that both meet the same state of the machine."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(WARM_UP_RUNS + count):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn >= WARM_UP_RUNS:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
