"""How requests are protected: TLS, certificates and a bearer token."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.errors import UsageError
from client.servers.addresses import Address

TOKEN_VARIABLE = "LIPSYNC_TOKEN"  # a token on the command line would show in the list of processes


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
