"""The command `engines`: builds and verifies TensorRT engines, for servers with --model-config-name tensorrt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.engines.build import build_engine, find_toolchain, models_in_fp32, read_profile
from export.engines.verify import verify_engine
from export.engines.volume import link_graphs
from export.shared.arguments import Command, add_repository
from lipsync_core.config_file import read_contract
from lipsync_core.repository import export_commands
from lipsync_core.serving.engines import FLAVOUR, engine_folder, exported_with_engine, models_with_engine, stale_engines

TIMING_CACHE = Path("build") / "tensorrt_timing.cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="models with a configs/tensorrt.pbtxt (default: all exported ones)"
    )
    parser.add_argument(
        "--serving", nargs="+", metavar="NAME", help="build what serving these models needs, instead of MODEL"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare existing engines with their ONNX graphs and time them, instead of building",
    )
    parser.add_argument(
        "--precision",
        choices=("fp16", "fp32"),
        default="fp16",
        help="precision that the graphs must have, fp32 for any; an engine has its graph's (default: %(default)s)",
    )
    parser.add_argument(
        "--timing-cache", type=Path, help=f"kernel timings (default: {TIMING_CACHE}; with --into, beside the engines)"
    )
    add_repository(parser)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="write to this GPU's folder in a volume, as the repository is read-only; engines that are up to date there"
        " are not built again",
    )


def run(arguments: argparse.Namespace) -> None:
    """Build or verify the engines, and print what was done.

    Raises:
        ValueError: A model has no TensorRT flavour; there is no TensorRT or GPU; a graph has another precision or
            cannot be built; an engine belongs to another machine, or differs too much from its graph.
    """
    repository: Path = arguments.repository
    models = _chosen_models(arguments)
    toolchain = find_toolchain()
    timing_cache: Path = arguments.timing_cache or TIMING_CACHE
    if arguments.into is not None:
        volume = engine_folder(arguments.into, toolchain.gpu)
        if not arguments.verify:
            models = stale_engines(repository, models, volume)
            link_graphs(repository, models, volume)
        repository = volume
        timing_cache = arguments.timing_cache or volume / TIMING_CACHE.name
    if arguments.verify:
        for model in models:
            print(verify_engine(repository, model, toolchain), flush=True)
        return
    _check_precision(arguments.repository, models, arguments.precision)
    for model in models:
        print(build_engine(repository, model, toolchain, timing_cache))
    print(f"{len(models)} built, for TensorRT {toolchain.version} on {toolchain.gpu} only")


def _check_precision(repository: Path, models: list[str], precision: str) -> None:
    """Check that graphs are in half precision, before any engine is built; with fp32 a line says what it costs."""
    single = models_in_fp32(repository, models)
    if not single:
        return
    commands = ", ".join(f"{line} --precision fp16" for line in export_commands(repository, single))
    advice = f"Export in half precision with: {commands} (see --help)"
    if precision == "fp16":
        raise ValueError(
            f"precision: expected fp16, got fp32 of {', '.join(single)}. {advice}, or choose --precision fp32"
        )
    print(
        f"export engines: fp32 engines of {', '.join(single)}: twice the bytes, and no half-precision units. {advice}",
        file=sys.stderr,
        flush=True,
    )


def _chosen_models(arguments: argparse.Namespace) -> list[str]:
    """List the models that the options choose; each has a TensorRT flavour with a valid profile."""
    repository: Path = arguments.repository
    models: list[str] = arguments.models
    if not models and arguments.serving:
        models = models_with_engine(repository, arguments.serving)
    elif not models:
        models = exported_with_engine(repository)
    for model in models:
        if not (repository / model / "configs" / f"{FLAVOUR}.pbtxt").is_file():
            known = ", ".join(sorted(path.parent.parent.name for path in repository.glob(f"*/configs/{FLAVOUR}.pbtxt")))
            raise ValueError(f"model: expected one with a TensorRT flavour ({known or 'none here'}), got {model!r}")
        read_profile(read_contract(repository / model, FLAVOUR))
    return models


COMMAND = Command(
    name="engines",
    summary="build TensorRT engines of exported models, for servers started with --model-config-name tensorrt",
    add_arguments=add_arguments,
    run=run,
)
