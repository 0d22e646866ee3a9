"""The embedded Triton: started for one job, or by `lipsync serve` to stay."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client.errors import ServerUnavailable, UsageError
from lipsync_core.contract import CONFIG_FILE, missing_networks
from lipsync_core.serving.access import add_access_options, read_access
from lipsync_core.serving.server import LOOPBACK, EmbeddedServer, ServerOptions

DEFAULT_REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002  # Triton's own defaults
STOP_GRACE_S = 10.0
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
            raise ServerUnavailable(
                f"the server ended during the job; nothing was written. Its log's last lines:\n{server.log_excerpt()}"
            ) from error


def serve_command(arguments: Sequence[str]) -> int:
    """Serve until interrupted; returns 0.

    Raises:
        UsageError: options that do not go together.
        ServerStartError: the server does not start.
        ServerUnavailable: it ended by itself.
    """
    options = build_parser().parse_args(arguments)
    models = options.models or exported_models(options.model_repository)
    server_options = _server_options(options, tuple(models))
    with EmbeddedServer(server_options) as server:
        print(f"serving {', '.join(models)}", file=sys.stderr)
        print(f"gRPC at {server.url}; log in {server.log_path}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while server.is_alive():
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            return 0
        raise ServerUnavailable(f"the server ended by itself. Its log's last lines:\n{server.log_excerpt()}")


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
            stop_grace_s=STOP_GRACE_S,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def exported_models(repository: Path) -> list[str]:
    """Name every model of a repository that has all networks it needs; say on stderr which are left out."""
    names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}"))
    missing = {name: missing_networks(repository, name) for name in names}
    left_out = [name for name in names if missing[name]]
    if left_out:
        print(f"not exported, so not served: {', '.join(left_out)} (see: python -m export --help)", file=sys.stderr)
    return [name for name in names if not missing[name]]


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="lipsync serve", description="Serve the models, on loopback by default, until interrupted."
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="models to load, with what they need (all exported)"
    )
    parser.add_argument("--grpc-port", type=int, default=GRPC_PORT, help="port for gRPC (%(default)s)")
    parser.add_argument(
        "--address", default=LOOPBACK, help="of gRPC (%(default)s); others need TLS, and a token or client certificates"
    )
    parser.add_argument("--http-port", type=int, default=HTTP_PORT, help="port for HTTP (%(default)s)")
    parser.add_argument("--metrics-port", type=int, default=METRICS_PORT, help="port for metrics (%(default)s)")
    parser.add_argument(
        "--model-config-name", metavar="FLAVOUR", help="serve configs/FLAVOUR.pbtxt where models have it"
    )
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR", help="the models")
    add_access_options(parser)
    return parser
