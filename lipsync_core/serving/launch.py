"""Entry point of the Triton image: lays out the models, restricts the endpoints, and becomes tritonserver.

A watcher beside it ends the server when the process of a model dies; the container's restart policy does the rest.

Started as `python -m lipsync_core.serving.launch`. gRPC is on 8001, health by HTTP on 8000, metrics on 8002.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lipsync_core.repository import check_networks, exported_models, served_models
from lipsync_core.serving.access import add_access_options, read_access
from lipsync_core.serving.engines import FLAVOUR, engine_folder, find_gpu, models_with_engine, stale_engines
from lipsync_core.serving.flavours import AUTO, CPU, choose_flavour
from lipsync_core.serving.gpus import gpus_to_use, pinned, visible_gpus
from lipsync_core.serving.links import link_models
from lipsync_core.syncnet.models import without_synthetic_syncnet

EXIT_USAGE = 2
STOP_GRACE_S = 120  # a chunk under way, of the slowest pipeline, may finish


def main(argv: Sequence[str] | None = None) -> int:
    """Replace this process by tritonserver; returns only with an error."""
    options = build_parser().parse_args(argv)
    try:
        flavour = chosen_flavour(options)
        _use_one_gpu(options.model_repository, flavour)
        arguments = server_arguments(options, flavour)
        subprocess.Popen([sys.executable, "-m", "lipsync_core.serving.watcher", str(os.getpid())])
        os.execvp(arguments[0], arguments)
    except ValueError as error:
        print(f"lipsync launch: {error}", file=sys.stderr)
    except OSError as error:
        print(
            f"lipsync launch: tritonserver: expected the program {options.tritonserver}, got {error}", file=sys.stderr
        )
    return EXIT_USAGE


def chosen_flavour(options: argparse.Namespace) -> str | None:
    """Return the flavour to serve, None for the CPU's; a visible GPU that stays unused is told.

    Raises:
        ValueError: there is no such flavour, or no such model.
    """
    repository: Path = options.model_repository
    gpus = visible_gpus() if options.flavour == AUTO else []
    engines = engine_folder(options.engines, find_gpu()) if gpus else None
    choice = choose_flavour(options.flavour, repository, options.models, gpus, engines)
    if choice.warning:
        print(f"lipsync launch: {choice.warning}", file=sys.stderr, flush=True)
    return choice.flavour


def server_arguments(options: argparse.Namespace, flavour: str | None) -> list[str]:
    """Lay out the models and build tritonserver's command line.

    Raises:
        ValueError: nothing to serve, networks not exported, engines missing or stale, certificates or tokens that
            cannot be used, no temporary folder.
    """
    repository: Path = options.model_repository
    _check_flavour(repository, flavour)
    config_name = None if flavour == FLAVOUR else flavour  # engines lie in a folder of their own
    models = served_models(repository, options.models or _exported_models(repository, config_name), config_name)
    engines = _find_engines(options, models) if flavour == FLAVOUR else None
    check_networks(repository, models, config_name)
    try:
        folder = link_models(repository, models, _empty_folder(), engines)
    except OSError as error:
        raise ValueError(f"models: expected a temporary folder to link them in, got {error}. Mount one") from error
    return [
        options.tritonserver,
        f"--model-repository={folder}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        *([f"--model-config-name={flavour}"] if flavour else []),
        f"--exit-timeout-secs={STOP_GRACE_S}",
        "--log-format=ISO8601",
        f"--log-verbose={options.log_verbose}",
        *read_access(options, shares_memory=False).arguments(),
        *_trace_arguments(options),
        *options.tritonserver_arguments,
    ]


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m lipsync_core.serving.launch", description=__doc__)
    parser.add_argument("--model-repository", type=Path, default=Path("/models"), help="only read (%(default)s)")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="models to serve, with what they need (all there)")
    parser.add_argument(
        "--flavour",
        metavar="NAME",
        default=AUTO,
        help=f"serve configs/NAME.pbtxt where models have it; {CPU}: none; {AUTO}: TensorRT or torch, where there is a"
        " GPU with all engines or torch programs (%(default)s)",
    )
    parser.add_argument("--engines", type=Path, default=Path("/engines"), help="volume of engines (%(default)s)")
    parser.add_argument("--trace-url", metavar="URL", help="send OpenTelemetry traces to this OTLP endpoint by HTTP")
    parser.add_argument(
        "--trace-every", type=int, default=100, metavar="N", help="trace one request of N (%(default)s)"
    )
    parser.add_argument("--log-verbose", type=int, default=0, metavar="N", help="1: a line per request, with its id")
    parser.add_argument("--tritonserver", default="tritonserver", help="the program (%(default)s)")
    parser.add_argument("tritonserver_arguments", nargs="*", metavar="-- OPTION", help="more of tritonserver's own")
    add_access_options(parser)
    return parser


def _use_one_gpu(repository: Path, flavour: str | None) -> None:
    """Limit this process, which becomes the server, to the first GPU, and say so where there are more."""
    gpus = gpus_to_use(repository, flavour)
    if len(gpus) > 1:
        print(
            f"lipsync launch: GPU: expected one per container, got {len(gpus)}. This server uses {gpus[0]} alone:"
            " start a container for each of the others",
            file=sys.stderr,
            flush=True,
        )
        os.environ.update(pinned(gpus[0]))


def _check_flavour(repository: Path, flavour: str | None) -> None:
    known = sorted({path.stem for path in repository.glob("*/configs/*.pbtxt")})
    if flavour is not None and flavour not in known:
        names = ", ".join([AUTO, CPU, *known])
        raise ValueError(f"--flavour: expected one of {names} in {repository}, got {flavour!r}")


def _exported_models(repository: Path, config_name: str | None) -> list[str]:
    exported = exported_models(repository, config_name)
    if not exported:
        raise ValueError(f"models: expected exported models in {repository}, got none. See: python -m export --help")
    return without_synthetic_syncnet(repository, exported, config_name)


def _find_engines(options: argparse.Namespace, models: list[str]) -> Path:
    """Return the folder of this GPU's engines, all there and up to date."""
    wanted = models_with_engine(options.model_repository, models)
    folder = engine_folder(options.engines, find_gpu())
    stale = stale_engines(options.model_repository, wanted, folder)
    if stale:
        raise ValueError(
            f"engines: expected those of {', '.join(stale)} in {folder}, got none, or some of other models."
            f" Build them with: python -m export engines --into {options.engines} {' '.join(stale)}"
        )
    return folder


def _trace_arguments(options: argparse.Namespace) -> list[str]:
    if options.trace_url is None:
        return []
    settings = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={options.trace_every}",
        f"opentelemetry,url={options.trace_url}",
        "opentelemetry,resource=service.name=lipsync-triton",
    )
    return [f"--trace-config={setting}" for setting in settings]


def _empty_folder() -> Path:
    """Return an absent folder for the links; a restarted container keeps its /tmp."""
    folder = Path(tempfile.gettempdir()) / "lipsync-models"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
