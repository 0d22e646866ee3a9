"""The arguments that say where the servers are and how to reach them; all commands that call servers share them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from client.errors import UsageError
from client.option import Option
from client.option_kinds import Number
from client.servers.access import ServerAccess, read_access
from client.servers.calls import Transport
from client.servers.connection import REQUEST_TIMEOUT_S
from client.servers.security import TOKEN_VARIABLE
from lipsync_core.repository import DEFAULT_REPOSITORY

MAX_TIMEOUT_S = 1_000_000
TIMEOUT: Option[float] = Option(
    "timeout",
    Number(1, MAX_TIMEOUT_S, unit="seconds", placeholder="S"),
    REQUEST_TIMEOUT_S,
    "Timeout per request, in seconds; a request without an answer is sent again.",
    "Timeout",
)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `server_access` reads."""
    parser.add_argument(
        "--url",
        action="append",
        metavar="HOST:PORT",
        help="use this running Triton (its gRPC port) instead of starting one; several, separated by commas or given"
        " one by one, share the work, as do all addresses behind dns:///NAME:PORT",
    )
    parser.add_argument(
        "--transport",
        choices=get_args(Transport),
        default="auto",
        help="how frames are sent: shared memory, gRPC messages, or shared memory if the server is local (default:"
        " %(default)s)",
    )
    parser.add_argument(
        TIMEOUT.flag, default=TIMEOUT.default, metavar="S", help=f"timeout per request (default: {TIMEOUT.default:g})"
    )
    _add_security_arguments(parser)
    add_repository_argument(parser)


def add_repository_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where the models of a server that is started are."""
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=DEFAULT_REPOSITORY,
        metavar="DIR",
        help="models of the server that is started (default: the project's own)",
    )


def server_access(namespace: argparse.Namespace) -> ServerAccess:
    """Return where the servers are and how to reach them.

    Raises:
        UsageError: a value or file cannot be used, or arguments do not go together.
    """
    repository = namespace.model_repository
    if not namespace.url and repository != DEFAULT_REPOSITORY and not repository.is_dir():
        raise UsageError(
            option="model_repository", expected="a folder of models", got=f"{repository}, which is no folder"
        )
    return read_access(
        namespace.url,
        transport=namespace.transport,
        request_timeout_s=TIMEOUT.read(namespace.timeout),
        tls=namespace.tls,
        tls_ca=namespace.tls_ca,
        tls_cert=namespace.tls_cert,
        tls_key=namespace.tls_key,
        token_file=namespace.token_file,
    )


def _add_security_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --url only")
    group.add_argument("--tls", action="store_true", help="encrypt, and accept only servers with a valid certificate")
    group.add_argument(
        "--tls-ca", type=Path, metavar="PEM", help="certificate authorities to trust (default: the public ones)"
    )
    group.add_argument("--tls-cert", type=Path, metavar="PEM", help="client certificate, for servers that ask for one")
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of the client certificate")
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with a token to send as 'authorization: Bearer' with each request (default: ${TOKEN_VARIABLE})",
    )
