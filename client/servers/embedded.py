"""The embedded Triton: started for one job, or by `lipsync serve` to stay."""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client.cli.parser import OneLineParser
from client.errors import ServerUnavailable, UsageError
from client.job import MODELS
from client.servers.addresses import Address, Servers
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from client.servers.security import IN_THE_CLEAR
from client.tracking.finder import MEDIAPIPE
from lipsync_core.contract import CONFIG_FILE
from lipsync_core.repository import (
    DEFAULT_REPOSITORY,
    export_commands,
    missing_networks,
    required_models,
    synthetic_networks,
)
from lipsync_core.serving.access import add_access_options, read_access
from lipsync_core.serving.server import LOOPBACK, EmbeddedServer, ServerOptions

GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002  # Triton's own defaults
MAX_PORT = 65_535
STOP_GRACE_S = 10.0
COMPILE_TIMEOUT_S = 3600.0  # a flavour may compile or tune at its first start
POLL_S = 0.2


@contextmanager
def open_server(
    url: str | None, repository: Path, models: tuple[str, ...]
) -> Generator[tuple[str, float | None], None, None]:
    """Give the URL of the user's server, or start one with these models; its start time in seconds comes along."""
    if url is not None:
        yield url, None
        return
    started = time.perf_counter()
    with EmbeddedServer(ServerOptions(repository, models)) as server:
        try:
            yield server.url, round(time.perf_counter() - started, 3)
        except ServerUnavailable as error:
            if server.is_alive():
                raise
            raise ServerUnavailable(f"the server ended during the job, {_ending(server)}") from error


@contextmanager
def open_pool(
    servers: Servers | None, repository: Path, models: tuple[str, ...], options: PoolOptions
) -> Generator[tuple[ServerPool, float | None], None, None]:
    """Connect to the user's servers, or to one started with these models; its start time in seconds comes along."""
    if servers is not None:
        with ServerPool(servers, options) as pool:
            yield pool, None
        return
    with open_server(None, repository, models) as (url, start_s):
        # a server of our own is never lost by being slow, and stays away once it is gone
        mine = replace(
            options,
            comeback_s=0,
            check_every_s=threading.TIMEOUT_MAX,
            security=IN_THE_CLEAR,
            models_stamp=files_stamp(repository, models),
        )
        with ServerPool(Servers((Address(url),)), mine) as pool:
            yield pool, start_s


def serve_command(arguments: Sequence[str]) -> int:
    """Serve until interrupted; returns 0.

    Raises:
        UsageError: options that do not go together, unknown models, or nothing to serve.
        ServerStartError: the server does not start.
        ServerUnavailable: it ended by itself.
    """
    options = build_parser().parse_args(arguments)
    repository, flavour = options.model_repository, options.model_config_name
    models = models_to_serve(repository, options.models, flavour)
    with EmbeddedServer(_server_options(options, tuple(models))) as server:
        for line in [*what_is_served(repository, models, flavour), *weights_warnings(repository, models, flavour)]:
            print(line, file=sys.stderr)
        print(f"gRPC at {server.url}; log in {server.log_path}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while server.is_alive():
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            return 0
        raise ServerUnavailable(f"the server ended by itself, {_ending(server)}")


def _ending(server: EmbeddedServer) -> str:
    """Say how a server ended by itself, with what its log says of it."""
    log = server.log_excerpt()
    return server.how_it_ended() + (f". Its log's last lines:\n{log}" if log else "")


def _server_options(options: argparse.Namespace, models: tuple[str, ...]) -> ServerOptions:
    try:
        return ServerOptions(
            repository=options.model_repository,
            models=models,
            grpc_port=options.grpc_port,
            http_port=options.http_port,
            metrics_port=options.metrics_port,
            address=options.address,
            access=read_access(options, shares_memory=options.address == LOOPBACK),
            config_name=options.model_config_name,
            startup_timeout_s=COMPILE_TIMEOUT_S if options.model_config_name else ServerOptions.startup_timeout_s,
            stop_grace_s=STOP_GRACE_S,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def files_stamp(repository: Path, models: tuple[str, ...]) -> str:
    """Hash names, sizes and times of change of all files of some models and of what they need."""
    folders = [repository / name for name in required_models(repository, list(models))]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    facts = [(str(path.relative_to(repository)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def exported_models(repository: Path, config_name: str | None = None) -> list[str]:
    """Name every model of a repository that has all networks it needs."""
    names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}"))
    return [name for name in names if not missing_networks(repository, name, config_name)]


def models_to_serve(repository: Path, chosen: Sequence[str] | None, config_name: str | None = None) -> list[str]:
    """Name the chosen models, or all that are exported.

    Raises:
        UsageError: no such flavour or model, or none is exported.
    """
    flavours = sorted({path.stem for path in repository.glob("*/configs/*.pbtxt")})
    if config_name is not None and config_name not in flavours:
        raise UsageError(f"--model-config-name: expected one of {', '.join(flavours) or 'none'}, got {config_name!r}")
    models = list(chosen or exported_models(repository, config_name))
    if not models:
        raise UsageError(f"--model-repository: expected exported models, got none in {repository}. Run: make models")
    try:
        required_models(repository, models)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return models


def what_is_served(repository: Path, models: Sequence[str], config_name: str | None = None) -> list[str]:
    """Say for each generator, in a line, whether a server with these models has it, and else how it gets there."""
    served = required_models(repository, list(models))
    lines = []
    for generator, needed in MODELS.items():
        missing = [name for model in needed for name in missing_networks(repository, model, config_name)]
        if {MEDIAPIPE.model, *needed} <= set(served):
            lines.append(f"{generator}: ready")
        elif missing:
            commands = export_commands(repository, missing, config_name)
            lines.append(f"{generator}: not exported. Write its networks with: {', '.join(commands)} (see its --help)")
        else:
            lines.append(f"{generator}: not among the models to serve")
    return lines


def weights_warnings(repository: Path, models: Sequence[str], config_name: str | None = None) -> list[str]:
    """Name in a line the networks with made-up weights that these models run on; nothing where there are none."""
    made_up = synthetic_networks(repository, list(models), config_name)
    if not made_up:
        return []
    commands = export_commands(repository, made_up)
    return [
        f"made-up weights in {', '.join(made_up)}: the pictures are noise."
        f" Give real ones with: {', '.join(commands)} (see its --help)"
    ]


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a port, 1 to {MAX_PORT}, got {text!r}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync serve", description="Serve the models, on loopback by default, until interrupted."
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="models to load, with what they need (all exported)"
    )
    parser.add_argument("--grpc-port", type=_port, default=GRPC_PORT, help="port for gRPC (%(default)s)")
    parser.add_argument(
        "--address", default=LOOPBACK, help="of gRPC (%(default)s); others need TLS, and a token or client certificates"
    )
    parser.add_argument("--http-port", type=_port, default=HTTP_PORT, help="port for HTTP (%(default)s)")
    parser.add_argument("--metrics-port", type=_port, default=METRICS_PORT, help="port for metrics (%(default)s)")
    parser.add_argument(
        "--model-config-name", metavar="FLAVOUR", help="serve configs/FLAVOUR.pbtxt where models have it"
    )
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR", help="the models")
    add_access_options(parser)
    return parser
