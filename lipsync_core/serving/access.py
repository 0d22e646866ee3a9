"""Access to a Triton server: TLS, the callers' token and the operator's, as arguments of tritonserver."""

from __future__ import annotations

import argparse
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

TOKEN_KEY = "authorization"
ADMIN_TOKEN_KEY = "admin-token"
TOKEN_HEADER = f"triton-grpc-protocol-{TOKEN_KEY}"  # gRPC metadata with a caller's `Bearer TOKEN`; Triton's own prefix

# Triton's names of its APIs; health stays open, for probes and load balancers.
CALLER_APIS = ("metadata", "model-config", "inference", "statistics")
OPERATOR_APIS = ("model-repository", "trace", "logging")
SHARED_MEMORY_API = "shared-memory"
# Tritonserver's options that take the token of some calls, as CALLS:KEY=TOKEN.
RESTRICT_GRPC, RESTRICT_HTTP = RESTRICTING_OPTIONS = ("--grpc-restricted-protocol=", "--http-restricted-api=")
TOKEN_FORM = re.compile(r"[A-Za-z0-9._~+/-]{16,256}")  # Triton's option uses , : and = as separators


@dataclass(frozen=True)
class Access:
    """Who may call what.

    Attributes:
        certificate: PEM file of the server's certificate. If given, with `key`, gRPC is served with TLS.
        key: PEM file of the certificate's private key.
        client_ca: PEM file of the authority that must have signed clients' certificates; None to ask for none.
        token: Token that callers must send; None to accept anybody who reaches the port.
        admin_token: Token for loading models and changing trace and log settings; None to refuse them to everybody.
        shares_memory: Whether clients may register shared memory. Only for servers on loopback.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    token: str | None = None
    admin_token: str | None = None
    shares_memory: bool = True

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            ValueError: A certificate without key, a client CA without certificate, a missing file, or a token that
                Triton cannot take.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls: expected a certificate and its key, got one without the other")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("tls: expected a certificate beside the client CA, got none. Clients send theirs by TLS")
        for path in (self.certificate, self.key, self.client_ca):
            if path is not None and not path.is_file():
                raise ValueError(f"tls: expected a PEM file, got {path}, which is not a file")
        for name, token in (("token", self.token), ("admin token", self.admin_token)):
            if token is not None and not TOKEN_FORM.fullmatch(token):
                raise ValueError(
                    f"{name}: expected one of 16 to 256 letters, digits or . _ ~ + / -, got something else."
                    " Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )

    @property
    def uses_tls(self) -> bool:
        """Whether gRPC is served with TLS."""
        return self.certificate is not None

    @property
    def asks_who_calls(self) -> bool:
        """Whether callers must send a token or a certificate."""
        return self.token is not None or self.client_ca is not None

    def arguments(self) -> list[str]:
        """Return tritonserver's arguments. Where gRPC is restricted, HTTP, which has no TLS, serves only health."""
        admin_token = self.admin_token or secrets.token_urlsafe()
        for_callers = [*CALLER_APIS, *([SHARED_MEMORY_API] if self.shares_memory else [])]
        for_operator = [*OPERATOR_APIS, *([] if self.shares_memory else [SHARED_MEMORY_API])]
        guarded = self.uses_tls or self.asks_who_calls or not self.shares_memory
        http_for_operator = [*for_operator, *(for_callers if guarded else [])]
        arguments = [
            f"{RESTRICT_GRPC}{','.join(for_operator)}:{ADMIN_TOKEN_KEY}={admin_token}",
            f"{RESTRICT_HTTP}{','.join(http_for_operator)}:{ADMIN_TOKEN_KEY}={admin_token}",
        ]
        if self.token is not None:
            arguments.append(f"{RESTRICT_GRPC}{','.join(for_callers)}:{TOKEN_KEY}=Bearer {self.token}")
        return [*arguments, *self._tls_arguments()]

    def _tls_arguments(self) -> list[str]:
        if self.certificate is None:
            return []
        files = [f"--grpc-server-cert={self.certificate}", f"--grpc-server-key={self.key}"]
        if self.client_ca is None:
            return ["--grpc-use-ssl=true", *files]
        return ["--grpc-use-ssl-mutual=true", *files, f"--grpc-root-cert={self.client_ca}"]


def add_access_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for TLS and tokens."""
    group = parser.add_argument_group("access")
    for name, text in (
        ("--tls-cert", "certificate of the server; serves gRPC with TLS"),
        ("--tls-key", "private key of the certificate"),
        ("--tls-client-ca", "require client certificates signed by this authority"),
    ):
        group.add_argument(name, type=Path, metavar="PEM", help=text)
    group.add_argument("--token-file", type=Path, metavar="FILE", help="require the token in this file from callers")
    group.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="FILE",
        help="accept changes of trace and log settings with the token in this file (default: from nobody)",
    )


def read_access(options: argparse.Namespace, *, shares_memory: bool) -> Access:
    """Read the options for TLS and tokens.

    Raises:
        ValueError: The options do not fit together, or a file cannot be read.
    """
    return Access(
        certificate=options.tls_cert,
        key=options.tls_key,
        client_ca=options.tls_client_ca,
        token=read_token(options.token_file) if options.token_file else None,
        admin_token=read_token(options.admin_token_file) if options.admin_token_file else None,
        shares_memory=shares_memory,
    )


def read_token(path: Path) -> str:
    """Read a token from a file, such as a mounted secret.

    Raises:
        ValueError: The file cannot be read, or is empty.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"token: expected a readable text file, got {path} ({getattr(error, 'strerror', 'no text')})"
        ) from error
    if not token:
        raise ValueError(f"token: expected one in {path}, got an empty file")
    return token
