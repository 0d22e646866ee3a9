"""Says what keeps a connection from being encrypted, by trying it once more with Python's own TLS."""

from __future__ import annotations

import socket
import ssl

from client.servers.addresses import Address
from client.servers.security import Security

PROBE_TIMEOUT_S = 5.0


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
