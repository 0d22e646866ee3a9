"""Joins a Ray cluster by its token, or starts one on this machine. Knows nothing of jobs."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from client.errors import ServerUnavailable, UsageError
from client.system import ending_signals
from lipsync_core.extras import install_advice
from lipsync_core.serving.endpoints import NO_PROXY

AUTO = "auto"
EXTRA = "ray"  # of pyproject.toml
ADDRESS_VARIABLE = "RAY_ADDRESS"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
TOKEN_BYTES = 32
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its newer default, without a warning
}
OBJECT_STORE_BYTES = 80_000_000  # nothing large goes through it; Ray takes no less than 75 MB
CONNECT_TIMEOUT_S = 5.0
TLS_VARIABLE = "RAY_USE_TLS"
HEAD_CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # of Ray's head; an empty message asks it
STDERR = 2  # its file descriptor


@dataclass(frozen=True)
class RayNode:
    """A machine of the cluster.

    Attributes:
        id: Ray's id.
        name: what `ray start --node-name` calls it, else its address.
        cpus: cores that its Ray gives out.
        gpus: GPUs that its Ray gives out.
    """

    id: str
    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class RayCluster:
    """A cluster that this process has joined.

    Attributes:
        address: HOST:PORT of its head; None if it was started by this process, with which it ends.
    """

    address: str | None

    def nodes(self) -> list[RayNode]:
        """List the machines that are alive."""
        import ray  # noqa: PLC0415  (an extra, and it reads the environment when it is imported)

        return [
            RayNode(
                node["NodeID"], node["NodeName"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)
            )
            for node in ray.nodes()
            if node["Alive"]
        ]

    def has_head(self) -> bool:
        """Return whether the head answers. Ray ends a program that has lost it for a minute, without a word."""
        return self.address is None or _answers(self.address)


@contextmanager
def joined_cluster(address: str) -> Generator[RayCluster, None, None]:
    """Join a cluster and leave it at the end.

    Args:
        address: HOST:PORT of its head. "auto": the one of $RAY_ADDRESS, or the one that `ray start` has started here;
            without either, one is started on this machine.

    Raises:
        UsageError: Ray is not installed, the address is none, there is no token for the cluster, or the cluster asks
            for none.
        ServerUnavailable: the head does not answer, or it refuses this program.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(option="ray", expected="the package ray", got="none", advice=install_advice(EXTRA))
    head = _head(address)
    if head is not None and not _answers(head):
        raise ServerUnavailable(f"ray: nothing answers at {head}", advice="Start the head there, with ray start --head")
    if not _has_token():
        if head is not None:
            raise UsageError(
                option="ray",
                expected=f"the cluster's token in ${TOKEN_VARIABLE}, ${TOKEN_FILE_VARIABLE} or {_token_file()}",
                got="none",
                advice="Ray runs anyone's code without one: start all nodes with RAY_AUTH_MODE=token",
            )
        os.environ[TOKEN_VARIABLE] = secrets.token_hex(TOKEN_BYTES)
    if head is not None:
        _check_guard(head)
    os.environ |= ENVIRONMENT
    with _kept_signals(), _without_stderr():
        _connect(head)
    import ray  # noqa: PLC0415

    _keep_stdout_for_results()
    try:
        yield RayCluster(head)
    finally:
        ray.shutdown()


def _connect(head: str | None) -> None:
    """Join the cluster, or start one.

    Raises:
        ServerUnavailable: it refuses this program, or does not start.
    """
    import ray  # noqa: PLC0415

    own = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(
            address=head or "local",
            log_to_driver=False,
            configure_logging=False,
            **({} if head else own),
        )
    except Exception as error:  # Ray raises all kinds, Exception itself where a machine does not start in time
        ray.shutdown()
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        what = head or "a cluster of this machine"
        advice = "Check that the token is the cluster's, and that this machine belongs to it" if head else ""
        raise ServerUnavailable(f"ray: {what} cannot be used: {reason}", advice=advice) from error


def _keep_stdout_for_results() -> None:
    """Keep Ray from printing what goes wrong in the cluster; the runner gets errors of its own tasks."""
    from ray._private import worker  # noqa: PLC0415

    worker._worker_logs_enabled = False  # `log_to_driver` leaves these messages on, and nothing public turns them off


def _head(address: str) -> str | None:
    """Return HOST:PORT of the head to join; None to start one.

    Raises:
        UsageError: the address is none.
    """
    if address != AUTO:
        return _checked(address)
    named = os.environ.get(ADDRESS_VARIABLE)
    if named and named != AUTO:
        return _checked(named)
    started = _temporary_folder() / "ray" / "ray_current_cluster"
    try:
        address = started.read_text().strip()
    except OSError:
        return None
    return address if address and _answers(address) else None


def _checked(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or "//" in host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        advice = "The address is the one that ray start --head prints, such as 10.0.0.1:6379"
        raise UsageError(option="ray", expected=f"{AUTO} or HOST:PORT", got=repr(address), advice=advice)
    return address


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def _check_guard(head: str) -> None:
    """Check that a head refuses a call without a token: any cluster accepts callers that have one.

    With RAY_USE_TLS the head is not asked: both sides then need certificates.

    Raises:
        UsageError: the head answers the call.
        ServerUnavailable: what answers is no head.
    """
    if os.environ.get(TLS_VARIABLE, "0").lower() in ("1", "true"):
        return
    try:
        with grpc.insecure_channel(head, options=(NO_PROXY,)) as channel:
            channel.unary_unary(HEAD_CALL)(b"", timeout=CONNECT_TIMEOUT_S)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return
        raise ServerUnavailable(f"ray: no head of a cluster answers at {head}: {error.code().name}") from error
    raise UsageError(
        option="ray",
        expected="a cluster that asks for a token",
        got=f"{head}, where anyone can run any code",
        advice="Start all of its nodes with RAY_AUTH_MODE=token",
    )


def _has_token() -> bool:
    """Return whether Ray would find a token: in a variable, in a file named by one, or at its usual place."""
    if os.environ.get(TOKEN_VARIABLE):
        return True
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    try:
        return bool((Path(named) if named else _token_file()).read_text().strip())
    except OSError:
        return False


def _token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def _temporary_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())


@contextmanager
def _kept_signals() -> Generator[None, None, None]:
    """Keep this program's handlers of signals, some of which `ray.init` replaces."""
    numbers = (signal.SIGINT, *ending_signals())
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _without_stderr() -> Generator[None, None, None]:
    """Drop what is written to stderr: Ray's native code writes there beside raising an error."""
    kept = os.dup(STDERR)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
