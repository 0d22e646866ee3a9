"""TensorRT engines of exported models, for servers started with --model-config-name tensorrt."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

from export.engines.build import build_engine, find_toolchain, read_profile
from export.engines.verify import verify_engine
from lipsync_core.contract import CONFIG_FILE, read_contract
from lipsync_core.repository import DEFAULT_REPOSITORY, VERSION_FOLDER
from lipsync_core.serving.engines import FLAVOUR, engine_folder, exported_with_engine, models_with_engine, stale_engines
from lipsync_core.serving.links import ENGINE_FILE

TIMING_CACHE = Path("build") / "tensorrt_timing.cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this sub-command's options."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="models with a configs/tensorrt.pbtxt (all exported)"
    )
    parser.add_argument(
        "--serving", nargs="+", metavar="NAME", help="instead of MODEL: what serving these models needs"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="build nothing: compare built engines with their ONNX graphs, and time them",
    )
    parser.add_argument("--timing-cache", type=Path, help=f"default: {TIMING_CACHE}, or beside the engines with --into")
    parser.add_argument("--repository", type=Path, default=DEFAULT_REPOSITORY, help="default: %(default)s")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="write to this volume's folder of this GPU, for a repository that is only read, and build nothing anew"
        " that is up to date there",
    )


def run(arguments: argparse.Namespace) -> None:
    """Build the engines, or verify built ones, and say so.

    Raises:
        ValueError: a model without TensorRT flavour; no TensorRT, no GPU; a graph that cannot be built; an engine of
            another machine, or one that is too far off.
    """
    repository: Path = arguments.repository
    needed = (
        models_with_engine(repository, arguments.serving) if arguments.serving else exported_with_engine(repository)
    )
    models = arguments.models or needed
    for model in models:
        if not (repository / model / "configs" / f"{FLAVOUR}.pbtxt").is_file():
            known = ", ".join(sorted(path.parent.parent.name for path in repository.glob(f"*/configs/{FLAVOUR}.pbtxt")))
            raise ValueError(f"model: expected one with a TensorRT flavour ({known or 'none here'}), got {model!r}")
        read_profile(read_contract(repository / model, FLAVOUR))
    toolchain = find_toolchain()
    timing_cache: Path = arguments.timing_cache or TIMING_CACHE
    if arguments.into is not None:
        volume = engine_folder(arguments.into, toolchain.gpu)
        models = models if arguments.verify else stale_engines(repository, models, volume)
        repository = volume if arguments.verify else _link_graphs(repository, models, volume)
        timing_cache = arguments.timing_cache or volume / TIMING_CACHE.name
    if arguments.verify:
        for model in models:
            print(verify_engine(repository, model, toolchain), flush=True)
        return
    for model in models:
        print(build_engine(repository, model, toolchain, timing_cache))
    print(f"{len(models)} built, for TensorRT {toolchain.version} on {toolchain.gpu}, and no other")


def _link_graphs(repository: Path, models: list[str], volume: Path) -> Path:
    """Give models a folder in the volume that the builder can write to, their configs and graphs linked into it."""
    for model in models:
        version = volume / model / VERSION_FOLDER
        version.mkdir(parents=True, exist_ok=True)
        sources = [repository / model / CONFIG_FILE, repository / model / "configs"]
        sources += [path for path in (repository / model / VERSION_FOLDER).iterdir() if ENGINE_FILE not in path.name]
        for source in sources:
            _link(volume / source.relative_to(repository), source.resolve())
    return volume


def _link(link: Path, target: Path) -> None:
    """Make a link, or put it in an older one's place at once: other servers may build in the same volume."""
    unfinished = link.with_name(f".{link.name}-{os.getpid()}-{socket.gethostname()}")
    unfinished.symlink_to(target)
    unfinished.replace(link)
