"""`lipsync serve`: serves the models until interrupted, with one server per GPU where they run on GPUs."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

from client.cli.parser import OneLineParser
from client.cli.server_arguments import add_repository_argument
from client.cli.shown_tokens import token_warnings
from client.errors import ServerUnavailable, UsageError
from client.offer import models_to_serve, offers_of_repository, weights_warnings
from client.option import flag
from client.servers.embedded import how_it_ended
from lipsync_core.serving.access import add_access_options, read_access
from lipsync_core.serving.endpoints import GRPC_PORT, HTTP_PORT, LOOPBACK, METRICS_PORT, is_loopback
from lipsync_core.serving.flavours import AUTO, CPU, choose_flavour
from lipsync_core.serving.gpus import VISIBLE_VARIABLE, gpus_to_use, visible_gpus
from lipsync_core.serving.server import COMPILE_TIMEOUT_S, EmbeddedServer, ServerOptions

MAX_PORT = 65_535
PORTS_PER_SERVER = 3  # gRPC, HTTP and metrics
STOP_GRACE_S = 10.0
POLL_S = 0.2
MAX_RESTARTS, RESTARTS_WITHIN_S = 3, 600.0  # after more of them the fault is not a passing one


def serve_command(arguments: Sequence[str]) -> int:
    """Serve until interrupted; returns 0.

    Raises:
        UsageError: options that do not go together, unknown models, or nothing to serve.
        ServerStartError: a server does not start.
        ServerUnavailable: one ended by itself again and again.
    """
    options = build_parser().parse_args(arguments)
    repository = options.model_repository
    flavour = options.model_config_name = _chosen_flavour(options)
    models = models_to_serve(repository, options.models, flavour)
    with _started_together(_all_server_options(options, tuple(models))) as servers:
        offered = [offer.sentence(flag) for offer in offers_of_repository(repository, models, flavour)]
        for line in [*offered, *weights_warnings(repository, models, flavour), *token_warnings()]:
            print(line, file=sys.stderr)
        try:
            _keep_running(servers)
        except KeyboardInterrupt:
            return 0
        raise AssertionError("unreachable: the servers are kept running, or an error says why not")


def _chosen_flavour(options: argparse.Namespace) -> str | None:
    """Return the flavour to serve, None for the CPU's; a visible GPU that stays unused is told."""
    gpus = visible_gpus() if options.model_config_name == AUTO else []
    try:
        choice = choose_flavour(options.model_config_name, options.model_repository, options.models, gpus)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if choice.warning:
        print(f"lipsync serve: {choice.warning}", file=sys.stderr)
    return choice.flavour


@contextmanager
def _started_together(all_options: Sequence[ServerOptions]) -> Generator[list[EmbeddedServer]]:
    """Start servers one after the other, as the later ones load what the first has compiled; stop them together."""
    servers: list[EmbeddedServer] = []
    try:
        for options in all_options:
            server = EmbeddedServer(options)
            server.__enter__()
            servers.append(server)
        yield servers
    finally:
        with ThreadPoolExecutor(len(all_options)) as threads:
            list(threads.map(EmbeddedServer.stop, servers))


def _keep_running(servers: Sequence[EmbeddedServer]) -> NoReturn:
    """Restart a server that ends by itself, at the same ports, unless it does so too often."""
    restarts: list[deque[float]] = [deque(maxlen=MAX_RESTARTS) for _ in servers]
    for server in servers:
        _tell_place(server)
    if len(servers) > 1:
        print(f"use all of them with --url {','.join(server.url for server in servers)}", file=sys.stderr, flush=True)
    while True:
        for server, recent in zip(servers, restarts, strict=True):
            if not server.is_alive():
                _restart(server, recent)
        time.sleep(POLL_S)


def _restart(server: EmbeddedServer, recent: deque[float]) -> None:
    """Start a server again that has ended, and note when.

    Raises:
        ServerUnavailable: it has ended too often lately.
    """
    ending = f"the server ended by itself, {how_it_ended(server)}"
    if len(recent) == MAX_RESTARTS and time.monotonic() - recent[0] < RESTARTS_WITHIN_S:
        raise ServerUnavailable(ending)
    print(f"lipsync serve: {ending}\nlipsync serve: restarting it", file=sys.stderr, flush=True)
    recent.append(time.monotonic())
    server.stop()
    server.__enter__()
    _tell_place(server)


def _tell_place(server: EmbeddedServer) -> None:
    gpu = f" on {server.options.gpu}" if server.options.gpu else ""
    print(f"gRPC at {server.url}{gpu}; log in {server.log_path}; stop with Ctrl-C", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync serve", description="Serve the models until interrupted, on this machine only by default."
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="models to load, with those that they need (default: all exported)"
    )
    parser.add_argument("--grpc-port", type=_port, default=GRPC_PORT, help="port for gRPC (default: %(default)s)")
    parser.add_argument(
        "--address",
        default=LOOPBACK,
        help="address for gRPC (default: %(default)s); any other needs TLS, and a token or client certificates",
    )
    parser.add_argument("--http-port", type=_port, default=HTTP_PORT, help="port for HTTP (default: %(default)s)")
    parser.add_argument(
        "--metrics-port", type=_port, default=METRICS_PORT, help="port for metrics (default: %(default)s)"
    )
    parser.add_argument(
        "--model-config-name",
        metavar="FLAVOUR",
        default=AUTO,
        help=f"serve configs/FLAVOUR.pbtxt of the models that have it; {CPU}: none; {AUTO}: torch, where there is a"
        " GPU, torch with CUDA and every program (default: %(default)s)",
    )
    add_repository_argument(parser)
    add_access_options(parser)
    return parser


def _all_server_options(options: argparse.Namespace, models: tuple[str, ...]) -> list[ServerOptions]:
    """Describe one server, or one per GPU at neighbouring ports where the flavour runs on several.

    Raises:
        UsageError: options that do not go together, or ports of two servers that meet.
    """
    first = _server_options(options, models)
    gpus = gpus_to_use(options.model_repository, options.model_config_name)
    if len(gpus) < 2:
        return [first]
    found = [_neighbour(first, place, gpu) for place, gpu in enumerate(gpus)]
    ports = [port for one in found for port in (one.grpc_port, one.http_port, one.metrics_port) if port]
    if len(set(ports)) < len(ports) or max(ports) > MAX_PORT:
        raise UsageError(
            option="grpc_port",
            expected=f"ports that leave room for {len(gpus)} servers, one per GPU, {PORTS_PER_SERVER} apart",
            got=f"{first.grpc_port}, {first.http_port} and {first.metrics_port}",
            advice=f"Take three in a row, or choose one GPU with {VISIBLE_VARIABLE}",
        )
    return found


def _neighbour(first: ServerOptions, place: int, gpu: str) -> ServerOptions:
    """Return the options of the server of one GPU: as the first's, with its ports after those of the servers before."""
    assert first.grpc_port is not None
    assert first.http_port is not None
    assert first.metrics_port is not None
    offset = PORTS_PER_SERVER * place
    return replace(
        first,
        grpc_port=first.grpc_port + offset,
        http_port=first.http_port + offset,
        metrics_port=first.metrics_port + offset,
        gpu=gpu,
    )


def _server_options(options: argparse.Namespace, models: tuple[str, ...]) -> ServerOptions:
    try:
        return ServerOptions(
            repository=options.model_repository,
            models=models,
            grpc_port=options.grpc_port,
            http_port=options.http_port,
            metrics_port=options.metrics_port,
            address=options.address,
            access=read_access(options, shares_memory=is_loopback(options.address)),
            config_name=options.model_config_name,
            startup_timeout_s=COMPILE_TIMEOUT_S if options.model_config_name else ServerOptions.startup_timeout_s,
            ends_after_freeze=True,
            stop_grace_s=STOP_GRACE_S,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a port, 1 to {MAX_PORT}, got {text!r}")
    return int(text)
