"""TensorRT engines of exported models, for servers started with --model-config-name tensorrt."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.model_file import MODEL_REPOSITORY
from export.tensorrt_engine import FLAVOUR, build_engine, find_toolchain, read_profile
from export.tensorrt_verify import verify_engine
from lipsync_core.contract import read_contract

TIMING_CACHE = Path("build") / "tensorrt_timing.cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this sub-command's options."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="models with a configs/tensorrt.pbtxt")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="build nothing: compare built engines with their ONNX graphs, and time them",
    )
    parser.add_argument("--timing-cache", type=Path, default=TIMING_CACHE, help="default: %(default)s")
    parser.add_argument("--repository", type=Path, default=MODEL_REPOSITORY, help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    """Build the engines, or verify built ones, and say so.

    Raises:
        ValueError: a model without TensorRT flavour; no TensorRT, no GPU; a graph that cannot be built; an engine of
            another machine, or one that is too far off.
    """
    repository: Path = arguments.repository
    for model in arguments.models:
        if not (repository / model / "configs" / f"{FLAVOUR}.pbtxt").is_file():
            known = ", ".join(sorted(path.parent.parent.name for path in repository.glob(f"*/configs/{FLAVOUR}.pbtxt")))
            raise ValueError(f"model: expected one with a TensorRT flavour ({known or 'none here'}), got {model!r}")
        read_profile(read_contract(repository / model, FLAVOUR))
    toolchain = find_toolchain()
    if arguments.verify:
        for model in arguments.models:
            print(verify_engine(repository, model, toolchain), flush=True)
        return
    for model in arguments.models:
        print(build_engine(repository, model, toolchain, arguments.timing_cache))
    print(f"for TensorRT {toolchain.version} on {toolchain.gpu}, and no other")
