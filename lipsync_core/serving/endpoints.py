"""Where Triton listens: its usual ports, addresses of this host, and what gRPC has to be told about them."""

from __future__ import annotations

import ipaddress

GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002  # unless it is started with others
LOOPBACK, LOOPBACK_NAMES = "127.0.0.1", ("127.0.0.1", "::1", "localhost")
# gRPC sends even calls to loopback through the proxy that the environment names.
NO_PROXY = ("grpc.enable_http_proxy", 0)  # channel option


def is_loopback(host: str) -> bool:
    """Say whether a name or an address, IPv6 with or without brackets, is this host's loopback."""
    bare = host.strip("[]")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare.lower() == "localhost"


def bracketed(host: str) -> str:
    """Put an IPv6 address in brackets, as HOST:PORT needs it."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
