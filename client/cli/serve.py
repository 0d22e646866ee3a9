"""`lipsync serve`: serves the models until interrupted."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

from client.cli.parser import OneLineParser
from client.cli.server_arguments import add_repository_argument
from client.errors import ServerUnavailable, UsageError
from client.offer import models_to_serve, offers_of_repository, weights_warnings
from client.option import flag
from client.servers.embedded import how_it_ended
from lipsync_core.serving.access import add_access_options, read_access
from lipsync_core.serving.endpoints import GRPC_PORT, HTTP_PORT, LOOPBACK, METRICS_PORT, is_loopback
from lipsync_core.serving.server import EmbeddedServer, ServerOptions

MAX_PORT = 65_535
STOP_GRACE_S = 10.0
COMPILE_TIMEOUT_S = 3600.0  # a flavour may compile or tune at its first start
POLL_S = 0.2
MAX_RESTARTS, RESTARTS_WITHIN_S = 3, 600.0  # after more of them the fault is not a passing one


def serve_command(arguments: Sequence[str]) -> int:
    """Serve until interrupted; returns 0.

    Raises:
        UsageError: options that do not go together, unknown models, or nothing to serve.
        ServerStartError: the server does not start.
        ServerUnavailable: it ended by itself again and again.
    """
    options = build_parser().parse_args(arguments)
    repository, flavour = options.model_repository, options.model_config_name
    models = models_to_serve(repository, options.models, flavour)
    with EmbeddedServer(_server_options(options, tuple(models))) as server:
        offered = [offer.sentence(flag) for offer in offers_of_repository(repository, models, flavour)]
        for line in [*offered, *weights_warnings(repository, models, flavour)]:
            print(line, file=sys.stderr)
        try:
            _keep_running(server)
        except KeyboardInterrupt:
            return 0
        raise AssertionError("unreachable: the server is kept running, or an error says why not")


def _keep_running(server: EmbeddedServer) -> NoReturn:
    """Restart a server that ends by itself, at the same ports, unless it does so too often."""
    restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
    while True:
        print(f"gRPC at {server.url}; log in {server.log_path}; stop with Ctrl-C", file=sys.stderr, flush=True)
        while server.is_alive():
            time.sleep(POLL_S)
        ending = f"the server ended by itself, {how_it_ended(server)}"
        if len(restarts) == MAX_RESTARTS and time.monotonic() - restarts[0] < RESTARTS_WITHIN_S:
            raise ServerUnavailable(ending)
        print(f"lipsync serve: {ending}\nlipsync serve: restarting it", file=sys.stderr, flush=True)
        restarts.append(time.monotonic())
        server.stop()
        server.__enter__()


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
        "--model-config-name", metavar="FLAVOUR", help="serve configs/FLAVOUR.pbtxt of the models that have it"
    )
    add_repository_argument(parser)
    add_access_options(parser)
    return parser


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
