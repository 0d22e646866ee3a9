"""TCP ports on this host: free ones, taken ones, and ports with a listener."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from lipsync_core.serving.endpoints import LOOPBACK

CONNECT_TIMEOUT_S = 1.0


def free_port() -> int:
    """Return a TCP port of loopback that nobody uses now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that nobody uses now, none of them twice."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def taken_ports(ports: Iterable[int]) -> list[int]:
    """Return those ports that a server cannot listen at."""
    return [port for port in ports if not _can_bind(port)]


def listens(port: int) -> bool:
    """Return whether anybody listens at a port of loopback."""
    try:
        socket.create_connection((LOOPBACK, port), CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
