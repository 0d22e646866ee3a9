"""How requests are protected: TLS, certificates and a bearer token."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.errors import UsageError, ref
from client.servers.addresses import Address

TOKEN_VARIABLE = "LIPSYNC_TOKEN"  # a token on the command line would show in the list of processes


FILES = ("ca", "certificate", "key", "token_file")  # fields of Security


@dataclass(frozen=True)
class Security:
    """How requests are protected; the default is plain text without a token.

    Attributes:
        tls: Whether to encrypt, and to trust only a server whose certificate is valid for its name.
        ca: Certificates to trust, PEM; None for the public ones.
        certificate: What the client shows to servers that ask for a certificate, PEM.
        key: The certificate's private key, PEM.
        token: Sent with every request as `authorization: Bearer TOKEN`.
        token_file: Where the token was read; child processes read it again, so that a renewed token is used.

    Raises:
        UsageError: A file cannot be used, or the choices do not go together.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """Make paths absolute, so that they hold in child processes; refuse what cannot work."""
        for name in FILES:
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else path.absolute())
        if not self.tls and (self.ca or self.certificate or self.key):
            files = f"{ref('tls_ca')}, {ref('tls_cert')} and {ref('tls_key')}"
            raise UsageError(option="tls", expected=f"it beside {files}", got="none", advice=f"Add {ref('tls')}")
        if (self.certificate is None) != (self.key is None):
            files = "a certificate and its private key"
            raise UsageError(option=("tls_cert", "tls_key"), expected=files, got="one of the two", advice="Give both")
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            advice = f"Check {ref('token_file')} or ${TOKEN_VARIABLE}"
            raise UsageError(about="token", expected="one line of ASCII text", got="something else", advice=advice)
        if self.tls:
            self.context()

    def context(self) -> ssl.SSLContext:
        """Make Python's own TLS context from the same files; it reports problems more precisely than gRPC.

        Raises:
            UsageError: A file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            got = f"{self.ca} ({error})"
            raise UsageError(option="tls_ca", expected="certificates in PEM form", got=got) from error
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = "a certificate and its private key in PEM form"
            raise UsageError(option=("tls_cert", "tls_key"), expected=files, got=error) from error
        context.set_alpn_protocols(["h2"])
        return context

    def check(self, address: Address) -> None:
        """Refuse to send a token across a network unencrypted.

        Raises:
            UsageError: That would happen with this address.
        """
        if self.token is not None and not self.tls and not address.is_local:
            raise UsageError(
                about=address.url,
                expected=f"{ref('tls')} beside a token",
                got="an unencrypted connection",
                advice=f"Add {ref('tls')}",
            )

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return gRPC's credentials for TLS; None for a plain-text channel."""
        if not self.tls:
            return None
        ca, key, chain = (path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(ca, key, chain)


IN_THE_CLEAR = Security()


def read_token(path: Path | None) -> str | None:
    """Read the token from a file, else from the environment; None if neither has one.

    Raises:
        UsageError: The file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        got = f"{path} ({getattr(error, 'strerror', 'not ASCII')})"
        raise UsageError(option="token_file", expected="a readable text file", got=got) from error
