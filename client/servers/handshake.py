"""Explains a failed TLS handshake, by repeating it with Python's own TLS, which reports more than gRPC."""

from __future__ import annotations

import ssl

from client.errors import AccessDenied, ref
from client.servers.addresses import Address
from client.servers.proxies import Proxy, open_socket
from client.servers.security import Security

PROBE_TIMEOUT_S = 5.0


def handshake_problem(address: Address, security: Security, proxy: Proxy | None = None) -> AccessDenied | None:
    """Connect once more and return why client and server do not accept each other; None if TLS is not the reason.

    Raises:
        ProxyFailed: The proxy does not connect us.
    """
    context = security.context() if security.tls else _trusting_context()
    host = address.host.strip("[]")
    try:
        with (
            open_socket(address, proxy, PROBE_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=address.server_name or host) as encrypted,
        ):
            if not security.tls:
                advice = f"Add {ref('tls')}"
                return _denied(address, "a server without TLS", "one that encrypts", advice)
            # in TLS 1.3 a server checks our certificate after the handshake, and just closes the connection
            return None if encrypted.recv(1) else _own_certificate_problem(address, security)
    except ssl.SSLCertVerificationError as error:
        rule = f"a certificate that {ref('tls_ca')} vouches for"
        return _denied(address, rule, f"one refused: {error.verify_message}")
    except ssl.SSLError as error:
        return _ssl_problem(address, security, error) if security.tls else None
    except (OSError, UnicodeError):
        return None  # no connection at all, silence, or text that cannot be a name


def _trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _ssl_problem(address: Address, security: Security, error: ssl.SSLError) -> AccessDenied:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason:
        return _own_certificate_problem(address, security)
    return _denied(address, "a server that encrypts", reason)


def _own_certificate_problem(address: Address, security: Security) -> AccessDenied:
    shown = "no client certificate" if security.certificate is None else f"{security.certificate} refused"
    advice = f"Check {ref('tls_cert')} and {ref('tls_key')}"
    return _denied(address, "a client certificate that the server accepts", shown, advice)


def _denied(address: Address, expected: str, got: str, advice: str = "") -> AccessDenied:
    return AccessDenied(about=address.url, expected=expected, got=got, advice=advice)
