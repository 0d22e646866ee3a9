from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.access import TOKEN_HEADER, Access
from lipsync_core.serving.ports import free_port, free_ports
from lipsync_core.serving.processes import descendants
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.certificates import Authority
from tests.server.toy_models import write_toy_repository

pytestmark = pytest.mark.server

TOKEN, ADMIN_TOKEN = "callers-token-0123456789", "operators-token-012345678"
ADMIN_TOKEN_HEADER = "triton-grpc-protocol-admin-token"  # as docker/README.md tells operators
CALL_TIMEOUT_S = 5.0

Client = triton_grpc.InferenceServerClient
OPERATOR_CALLS: dict[str, Callable[[Client, dict[str, str]], object]] = {
    "load": lambda client, headers: client.load_model("double", headers=headers),
    "unload": lambda client, headers: client.unload_model("double", headers=headers),
    "index": lambda client, headers: client.get_model_repository_index(headers=headers),
    "trace": lambda client, headers: client.get_trace_settings(headers=headers),
    "logging": lambda client, headers: client.get_log_settings(headers=headers),
}
CALLER_CALLS: dict[str, Callable[[Client, dict[str, str]], object]] = {
    "infer": lambda client, headers: client.infer("double", [_values()], headers=headers),
    "config": lambda client, headers: client.get_model_config("double", headers=headers),
    "metadata": lambda client, headers: client.get_server_metadata(headers=headers),
    "statistics": lambda client, headers: client.get_inference_statistics(headers=headers),
    "shared memory": lambda client, headers: client.get_system_shared_memory_status(headers=headers),
    "shared memory of CUDA": lambda client, headers: client.get_cuda_shared_memory_status(headers=headers),
}


def _values() -> triton_grpc.InferInput:
    tensor = triton_grpc.InferInput("values", [3], "FP32")
    tensor.set_data_from_numpy(np.arange(3, dtype=np.float32))
    return tensor


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_repository(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def plain_server(toys: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(ServerOptions(toys, ("caller",), http_port=free_port())) as server:
        yield server


@pytest.fixture(scope="module")
def token_server(toys: Path) -> Iterator[EmbeddedServer]:
    access = Access(token=TOKEN, admin_token=ADMIN_TOKEN)
    with EmbeddedServer(ServerOptions(toys, ("double",), http_port=free_port(), access=access)) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our authority, a server and a client of it; another authority with a client; an expired client."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = (Authority(folder, name) for name in ("ours", "theirs"))
    for name in ("server", "client"):
        ours.issue(name)
    theirs.issue("stranger")
    ours.issue("expired", days=-1)
    return folder


@pytest.fixture(scope="module")
def mutual_server(toys: Path, certificates: Path) -> Iterator[EmbeddedServer]:
    access = Access(certificates / "server.pem", certificates / "server.key", certificates / "ours.pem")
    with EmbeddedServer(ServerOptions(toys, ("double",), http_port=free_port(), access=access)) as server:
        yield server


@pytest.mark.parametrize("call", OPERATOR_CALLS)
def test_operators_call_fails_by_default(plain_server: EmbeddedServer, call: str) -> None:
    """Without an operator's token nobody may load models or change trace and log settings."""
    with Client(plain_server.url) as client, pytest.raises(InferenceServerException, match="restricted"):
        OPERATOR_CALLS[call](client, {ADMIN_TOKEN_HEADER: "a-guess-of-some-length"})


@pytest.mark.parametrize("path", ["repository/index", "repository/models/double/load", "logging", "trace/setting"])
def test_operators_call_by_http_fails_by_default(plain_server: EmbeddedServer, path: str) -> None:
    """HTTP opens no side door to what gRPC refuses."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{plain_server.options.http_port}/v2/{path}", data=b"{}")


def test_a_job_needs_no_token_on_loopback(plain_server: EmbeddedServer) -> None:
    """By default the client of the same host infers, through shared memory."""
    with TritonConnection(plain_server.url) as connection:
        assert connection.transport == "shm"
        values = np.arange(100_000, dtype=np.float32)
        np.testing.assert_array_equal(
            connection.infer(InferRequest("caller", {"values": values}))["called"], values * 2
        )


@pytest.mark.parametrize("call", CALLER_CALLS)
def test_callers_token_opens_callers_calls(token_server: EmbeddedServer, call: str) -> None:
    """The token that callers were given is enough for a job."""
    with Client(token_server.url) as client:
        CALLER_CALLS[call](client, {TOKEN_HEADER: f"Bearer {TOKEN}"})


@pytest.mark.parametrize("call", CALLER_CALLS)
@pytest.mark.parametrize(
    "headers",
    [{}, {TOKEN_HEADER: TOKEN}, {TOKEN_HEADER: "Bearer another-token-0123456789"}, {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}],
)
def test_call_without_callers_token_fails(token_server: EmbeddedServer, call: str, headers: dict[str, str]) -> None:
    """No token, another token, or the operator's in its place: refused."""
    with Client(token_server.url) as client, pytest.raises(InferenceServerException, match="restricted"):
        CALLER_CALLS[call](client, headers)


def test_operators_token_opens_settings_but_not_loading(token_server: EmbeddedServer) -> None:
    """The operator reads settings; loading a model runs its code, which even the token does not allow."""
    headers = {ADMIN_TOKEN_HEADER: ADMIN_TOKEN}
    with Client(token_server.url) as client:
        for call in ("index", "trace", "logging"):
            OPERATOR_CALLS[call](client, headers)
        with pytest.raises(InferenceServerException, match="load / unload is not allowed"):
            OPERATOR_CALLS["load"](client, headers)


def test_health_is_open_and_nothing_else_by_http(token_server: EmbeddedServer) -> None:
    """Probes ask without a token; HTTP, which knows no TLS, answers nothing else where callers are asked for one."""
    address = f"http://127.0.0.1:{token_server.options.http_port}/v2"
    assert urllib.request.urlopen(f"{address}/health/ready").status == 200
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/models/double/infer", data=b"{}")
    with Client(token_server.url) as client:
        assert client.is_server_ready()


def test_a_client_of_our_authority_is_served(mutual_server: EmbeddedServer, certificates: Path) -> None:
    """Mutual TLS: with a certificate of the right authority calls go through."""
    with _tls_client(mutual_server.url, certificates, "ours", "client") as client:
        client.infer("double", [_values()], client_timeout=CALL_TIMEOUT_S)


@pytest.mark.parametrize(
    ("authority", "client_name"),
    [("theirs", "client"), ("ours", "stranger"), ("ours", "expired"), ("ours", None)],
    ids=["wrong server authority", "certificate of another authority", "expired", "no certificate"],
)
def test_tls_client_fails_without_a_valid_certificate(
    mutual_server: EmbeddedServer, certificates: Path, authority: str, client_name: str | None
) -> None:
    """Each side refuses the other's bad or missing certificate before any call."""
    with (
        _tls_client(mutual_server.url, certificates, authority, client_name) as client,
        pytest.raises(InferenceServerException, match="UNAVAILABLE"),
    ):
        client.infer("double", [_values()], client_timeout=CALL_TIMEOUT_S)


def test_servers_certificate_fails_under_another_name(mutual_server: EmbeddedServer, certificates: Path) -> None:
    """A client that looks for another host does not talk to this one."""
    other = [("grpc.ssl_target_name_override", "triton.example.org")]
    with (
        _tls_client(mutual_server.url, certificates, "ours", "client", other) as client,
        pytest.raises(InferenceServerException, match="UNAVAILABLE"),
    ):
        client.infer("double", [_values()], client_timeout=CALL_TIMEOUT_S)


def test_call_without_tls_fails(mutual_server: EmbeddedServer) -> None:
    """A plain-text client is not answered."""
    with Client(mutual_server.url) as client, pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.infer("double", [_values()], client_timeout=CALL_TIMEOUT_S)


def test_no_process_of_a_served_repository_shows_a_token(
    lipsync_command: list[str], model_repository: Path, tmp_path: Path
) -> None:
    """Neither the callers' token nor the operator's random one is among arguments, which `ps` shows to all users."""
    (tmp_path / "token").write_text(TOKEN)
    ports = zip(("--grpc-port", "--http-port", "--metrics-port"), map(str, free_ports(3)), strict=True)
    options = [
        "--models",
        "voice_activity",
        "--token-file",
        str(tmp_path / "token"),
        *(part for pair in ports for part in pair),
    ]
    with subprocess.Popen([*lipsync_command, "serve", *options], stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stderr is not None
            assert any("gRPC at" in line for line in serving.stderr)
            commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(serving.pid)]
        finally:
            serving.terminate()
            serving.communicate()
    assert [command for command in commands if TOKEN in command] == []
    shown = [token for command in commands for token in re.findall(r"(?:admin-token|authorization)=([^\0]*)", command)]
    assert len(shown) == 3  # of gRPC and HTTP for operators, and of gRPC for callers
    assert set("".join(shown)) == {"*"}


def _tls_client(
    url: str, folder: Path, authority: str, client_name: str | None, options: list[tuple[str, str]] | None = None
) -> Client:
    own = [(folder / f"{client_name}{ending}").read_bytes() if client_name else None for ending in (".key", ".pem")]
    return Client(
        url, creds=grpc.ssl_channel_credentials((folder / f"{authority}.pem").read_bytes(), *own), channel_args=options
    )
