"""Opens gRPC channels to Triton, in the clear or by TLS, with a bearer token; says why a handshake fails."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import tritonclient.grpc as triton_grpc
from tritonclient.grpc import InferenceServerClientPlugin

from client.errors import UsageError

TOKEN_VARIABLE = "LIPSYNC_TOKEN"  # a token on the command line would show in the list of processes
# A gateway before Triton looks at the first; Triton itself, by --grpc-restricted-protocol, at the second.
TOKEN_HEADERS = ("authorization", "triton-grpc-protocol-authorization")
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
PROBE_TIMEOUT_S = 5.0
OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, whatever became of the last one
]


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        server_name: what its certificate must name, where that is not the host of the URL.
    """

    url: str
    server_name: str | None = None

    @property
    def host(self) -> str:
        """The host, an IPv6 address in brackets."""
        return self.url.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port."""
        return int(self.url.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Say whether the host is this one."""
        return self.host in LOCAL_HOSTS


@dataclass(frozen=True)
class Security:
    """How requests are protected on their way; by default they are not.

    Attributes:
        tls: whether to encrypt, and to believe only a server whose certificate is signed and names it.
        ca: certificates to believe, PEM; the usual public ones if absent.
        certificate, key: what the client shows a server that asks, PEM.
        token: sent along with every request as `authorization: Bearer TOKEN`.

    Raises:
        UsageError: a file cannot be used, or the choices do not go together.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Make paths absolute, so that they hold in child processes; refuse what cannot work."""
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else path.absolute())
        if not self.tls and (self.ca or self.certificate or self.key):
            raise UsageError("--tls: expected it beside --tls-ca, --tls-cert and --tls-key, got none. Add --tls")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("--tls-cert: expected a certificate and its --tls-key, got one of the two. Give both")
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("token: expected one line of ASCII text, got something else. Check --token-file")
        if self.tls:
            self.context()

    def context(self) -> ssl.SSLContext:
        """Make Python's own context of the same files, which says more precisely than gRPC what is wrong."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"--tls-ca: expected certificates in PEM form, got {self.ca} ({error})") from error
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            text = f"--tls-cert, --tls-key: expected a certificate and its key in PEM form, got {error}"
            raise UsageError(text) from error
        context.set_alpn_protocols(["h2"])
        return context

    def check(self, address: Address) -> None:
        """Refuse to send a token across a network unencrypted.

        Raises:
            UsageError: that would happen with this address.
        """
        if self.token is not None and not self.tls and not address.is_local:
            raise UsageError(f"{address.url}: expected --tls for a token, got a connection in the clear. Add --tls")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return what gRPC encrypts with; None for a channel in the clear."""
        if not self.tls:
            return None
        ca, key, chain = (path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(ca, key, chain)


IN_THE_CLEAR = Security()


class _TokenPlugin(InferenceServerClientPlugin):  # type: ignore[misc]
    """Adds a bearer token to every call."""

    def __init__(self, token: str) -> None:
        self._headers = dict.fromkeys(TOKEN_HEADERS, f"Bearer {token}")

    def __call__(self, request: triton_grpc._client.Request) -> None:
        request.headers.update(self._headers)


def open_channel(address: Address, security: Security) -> triton_grpc.InferenceServerClient:
    """Open a channel; whether anybody answers shows in the first call.

    Raises:
        UsageError: a token would cross the network unencrypted.
    """
    security.check(address)
    options: list[tuple[str, int | str]] = list(OPTIONS)
    if address.server_name is not None and security.tls:
        options.append(("grpc.ssl_target_name_override", address.server_name))
    client = triton_grpc.InferenceServerClient(address.url, creds=security.credentials(), channel_args=options)
    if security.token is not None:
        client.register_plugin(_TokenPlugin(security.token))
    return client


def read_token(path: Path | None) -> str | None:
    """Read the token from a file, else from the environment; None where there is none.

    Raises:
        UsageError: the file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--token-file: expected a readable text file, got {path} ({getattr(error, 'strerror', 'no text')})"
        ) from error


def handshake_problem(address: Address, security: Security) -> str | None:
    """Try the connection once more in Python, to say what keeps it from being encrypted; None where nothing does."""
    context = security.context() if security.tls else _trusting_context()
    host = address.host.strip("[]")
    try:
        with (
            socket.create_connection((host, address.port), PROBE_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=address.server_name or host) as encrypted,
        ):
            if not security.tls:
                return "expected a server without TLS, got one that encrypts. Add --tls"
            # by TLS 1.3 a server judges our certificate after the handshake, and ends the connection without a word
            return None if encrypted.recv(1) else _own_certificate_problem(security)
    except ssl.SSLCertVerificationError as error:
        return f"expected a certificate that --tls-ca vouches for, got one refused: {error.verify_message}"
    except ssl.SSLError as error:
        return _in_words(error, security) if security.tls else None
    except (OSError, UnicodeError):
        return None  # no connection at all, silence, or a name that can be none: not a matter of encryption


def _trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _in_words(error: ssl.SSLError, security: Security) -> str:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return _own_certificate_problem(security) if "alert" in reason else f"expected a server that encrypts, got {reason}"


def _own_certificate_problem(security: Security) -> str:
    shown = "no client certificate" if security.certificate is None else f"{security.certificate} refused"
    return f"expected a client certificate that the server accepts, got {shown}. Check --tls-cert and --tls-key"
