from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.cli import serve
from client.errors import RequestRejected, ServerUnavailable, UsageError
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.servers.shared_memory import REGION_PREFIX
from lipsync_core.serving import runtime
from lipsync_core.serving.ports import free_port, free_ports
from lipsync_core.serving.processes import descendants, ending_words
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from lipsync_core.serving.server_log import relevant_lines
from tests.server.toy_models import DOUBLE_CONFIG, DOUBLE_MODEL, write_model, write_toy_repository
from tests.waiting import is_gone, wait_until

pytestmark = pytest.mark.server

HOLDER = """
import sys, time
from pathlib import Path
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
with EmbeddedServer(ServerOptions(Path(sys.argv[1]), ("caller",))) as server:
    print(server.log_path.parent, server.shm_prefix, *server.pids, flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_repository(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def toy_server(toys: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(ServerOptions(toys, ("caller",))) as server:
        yield server


def shared_memory(prefix: str) -> list[str]:
    """Names of shared memory with one prefix; servers of others may come and go meanwhile."""
    return [path.name for path in Path("/dev/shm").glob(f"{prefix}*")]


@pytest.mark.parametrize("model", ["double", "caller"])
@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_answers_by_both_transports(toy_server: EmbeddedServer, model: str, transport: str) -> None:
    """A model, and one that calls it, give the same results through message bodies and shared memory."""
    values = np.arange(100_000, dtype=np.float32)
    with TritonConnection(toy_server.url, transport) as connection:  # type: ignore[arg-type]
        assert connection.transport == transport
        name = connection.contract(model).outputs[0].name
        np.testing.assert_array_equal(connection.infer(InferRequest(model, {"values": values}))[name], values * 2)


def test_bad_meaning_fails_as_a_rejected_request(toy_server: EmbeddedServer) -> None:
    """A ValueError reaches the caller with its message, also through a model in between."""
    with TritonConnection(toy_server.url) as connection:
        for model in ("double", "caller"):
            with pytest.raises(RequestRejected, match="values: expected at least one, got none"):
                connection.infer(InferRequest(model, {"values": np.zeros(0, np.float32)}))


def test_a_bug_fails_without_its_traceback(toy_server: EmbeddedServer) -> None:
    """The caller learns the kind of error; the traceback stays in the server's log."""
    with TritonConnection(toy_server.url) as connection:
        with pytest.raises(RequestRejected, match="KeyError") as caught:
            connection.infer(InferRequest("double", {"values": np.array([-1], np.float32)}))
        assert "secret detail" not in str(caught.value)
    assert "secret detail" in toy_server.log_path.read_text()


def test_request_id_reaches_the_logs(toys: Path) -> None:
    """Through an ensemble and a BLS call, every model's log lines hold the request id that the client gave."""
    options = ServerOptions(toys, ("ensemble",), extra_arguments=("--log-verbose=1",))
    with EmbeddedServer(options) as server, TritonConnection(server.url) as connection:
        connection.infer(InferRequest("ensemble", {"values": np.ones(3, np.float32)}, id="job7-42"))
        with pytest.raises(RequestRejected):
            connection.infer(InferRequest("ensemble", {"values": -np.ones(3, np.float32)}, id="job7-43"))

        def seen(text: str) -> bool:
            return any(text in line for line in server.log_path.read_text().splitlines())

        wait_until(lambda: seen("[request id: job7-42] double: answered in"))
        wait_until(lambda: seen("[request id: job7-42] caller: answered in"))
        wait_until(lambda: seen("[request id: job7-43] double: Traceback"))


def test_unknown_model_fails_with_its_name(toy_server: EmbeddedServer) -> None:
    """The message names the model and what to do."""
    with TritonConnection(toy_server.url) as connection, pytest.raises(RequestRejected, match="'wav2lop'.*Load the"):
        connection.contract("wav2lop")


def test_nobody_there_fails_as_unavailable() -> None:
    """A port without a server, and text that is no address, are reported at once."""
    with pytest.raises(ServerUnavailable, match="expected a running Triton"):
        TritonConnection("127.0.0.1:1")
    with pytest.raises(UsageError, match="url: expected HOST:PORT"):
        TritonConnection("nonsense")


def test_wrong_port_of_a_server_fails_with_its_kind(toys: Path) -> None:
    """Whoever takes Triton's HTTP or metrics port for its gRPC port is told which one it is."""
    http_port, metrics_port = free_ports(2)
    with EmbeddedServer(ServerOptions(toys, (), http_port=http_port, metrics_port=metrics_port)):
        for port, kind in ((http_port, "HTTP"), (metrics_port, "metrics")):
            with pytest.raises(ServerUnavailable, match=f"expected Triton's gRPC port, got its {kind} port.*8001"):
                TritonConnection(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_serves_on_loopback_whatever_the_proxy(toys: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its addresses is served without TLS and with shared memory; no proxy is asked for it."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with (
        EmbeddedServer(ServerOptions(toys, (), address=address, startup_timeout_s=20.0)) as server,
        TritonConnection(server.url) as connection,
    ):
        assert connection.transport == "shm"


def test_server_killed_in_between_fails_as_unavailable(toys: Path) -> None:
    """After kill -9 of the server, requests end with an error and everything is cleaned up."""
    with EmbeddedServer(ServerOptions(toys, ("double",))) as server, TritonConnection(server.url) as connection:
        os.kill(server.pids[0], signal.SIGKILL)
        wait_until(lambda: not server.is_alive())
        with pytest.raises(ServerUnavailable):
            connection.infer(InferRequest("double", {"values": np.zeros(3, np.float32)}))
    assert shared_memory(server.shm_prefix) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_goes_away_with_its_client(toys: Path, number: int) -> None:
    """However the client ends, server, stubs, folder and shared memory are gone shortly after."""
    command = [sys.executable, "-c", HOLDER, str(toys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdout is not None
        folder, prefix, *pids = client.stdout.readline().split()
        assert shared_memory(prefix)
        client.send_signal(number)
        client.wait(60)
    assert len(pids) >= 3
    wait_until(lambda: all(is_gone(int(pid)) for pid in pids))
    wait_until(lambda: not Path(folder).exists())
    wait_until(lambda: shared_memory(prefix) == [])


def test_normal_end_leaves_nothing(toys: Path) -> None:
    """After the context, no process, folder or shared memory remains."""
    with EmbeddedServer(ServerOptions(toys, ("caller",))) as server:
        pids, folder = server.pids, server.log_path.parent
    assert all(is_gone(pid) for pid in pids)
    assert not folder.exists()
    assert shared_memory(server.shm_prefix) == []


def test_shared_memory_of_a_killed_client_is_taken_back(toy_server: EmbeddedServer) -> None:
    """The next client frees on the server what a killed one had registered, and /dev/shm holds no file of it."""
    script = (
        "import os, sys, numpy as np\nfrom client.servers.calls import InferRequest\n"
        "from client.servers.connection import TritonConnection\n"
        "connection = TritonConnection(sys.argv[1], 'shm')\n"
        "connection.infer(InferRequest('double', {'values': np.zeros(10**6, np.float32)}))\nos.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", script, toy_server.url]) as client:
        client.wait(30)
    assert shared_memory(f"{REGION_PREFIX}{client.pid}-") == []
    with TritonConnection(toy_server.url, "shm") as connection:
        names = connection._client.get_system_shared_memory_status().regions
        assert all(f"-{os.getpid()}-" in name for name in names)


def test_full_shared_memory_fails_with_what_to_do(toy_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room in /dev/shm a request ends with a message, and leaves nothing there."""
    with TritonConnection(toy_server.url, "shm") as connection:

        def refuse(*arguments: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("client.servers.shared_memory.os.posix_fallocate", refuse)
        with pytest.raises(ServerUnavailable, match="/dev/shm: expected room .*transport grpc"):
            connection.infer(InferRequest("double", {"values": np.zeros(10**6, np.float32)}))
    assert not any(name.endswith("-2") for name in shared_memory(f"{REGION_PREFIX}{os.getpid()}-"))


def test_killed_server_says_what_killed_it(toys: Path) -> None:
    """A server that ends by itself can say how, and its excerpt holds no addresses of a backtrace."""
    with EmbeddedServer(ServerOptions(toys, ("double",))) as server:
        os.kill(server.pids[0], signal.SIGKILL)
        wait_until(lambda: not server.is_alive())
        assert server.how_it_ended() == "killed by SIGKILL (is there enough memory?)"
    assert ending_words("exit 1\n") == "with exit code 1"
    assert ending_words("") == "without a word"
    assert ending_words("died faces 0\n") == "since the process of its model faces died, with exit code 0"
    assert relevant_lines("terminate called: std::bad_alloc\n 7# 0x00007F11D1CA8E85 in libstdc++.so.6", 8).endswith(
        "alloc"
    )


def stub_among(pids: Iterable[int], model: str) -> int:
    """Process id of a model's stub."""
    return next(pid for pid in pids if f"{model}_0_0\0" in Path(f"/proc/{pid}/cmdline").read_text())


def test_a_model_whose_process_dies_ends_the_server(toys: Path) -> None:
    """Triton would go on and fail every request to it; a job is told which model it was, and of what it died."""
    others = set(descendants(os.getpid()))

    def job() -> None:
        with open_server(None, toys, ("caller",)) as (url, _), TritonConnection(url) as connection:
            os.kill(stub_among(set(descendants(os.getpid())) - others, "double"), signal.SIGKILL)
            connection.infer(InferRequest("caller", {"values": np.ones(3, np.float32)}))

    with pytest.raises(ServerUnavailable, match="ended during the job, since the process of its model double died, k"):
        job()


def test_server_that_crashes_over_a_dead_process_says_which(toys: Path) -> None:
    """Triton may abort before the supervisor has seen the death; a crash of its own is not laid on a model."""
    for killed in (True, False):
        with EmbeddedServer(ServerOptions(toys, ("double",))) as server:
            if killed:
                os.kill(stub_among(server.pids, "double"), signal.SIGKILL)
            os.kill(server.pids[0], signal.SIGABRT)
            wait_until(lambda: not server.is_alive())
            cause = "since the process of its model double died, killed by SIGKILL" if killed else "killed by SIGABRT"
            assert server.how_it_ended() == f"{cause} (is there enough memory?)"


def test_job_says_that_its_server_was_frozen(toys: Path) -> None:
    """Triton may answer with an earlier request's result after that, so the job ends, in one line."""
    others = set(descendants(os.getpid()))

    def job() -> None:
        with open_server(None, toys, ("double",)) as (url, _), TritonConnection(url) as connection:
            stub = stub_among(set(descendants(os.getpid())) - others, "double")
            os.kill(stub, signal.SIGSTOP)
            wait_until(lambda: is_gone(stub))
            connection.infer(InferRequest("double", {"values": np.ones(3, np.float32)}))

    with pytest.raises(ServerUnavailable) as caught:
        job()
    assert str(caught.value) == "the server ended during the job, since it was frozen for a while. Run it again"


def test_serving_goes_on_after_a_models_process_died(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Idle or not, the server is restarted at its address and says why; it ends when that happens again and again."""
    lives: list[Path] = []
    with EmbeddedServer(ServerOptions(toys, ("double",), grpc_port=free_port())) as server:

        def disturb(pause_s: float) -> None:
            if server.log_path not in lives:
                lives.append(server.log_path)
                with TritonConnection(server.url) as connection:
                    connection.infer(InferRequest("double", {"values": np.ones(3, np.float32)}))
                os.kill(stub_among(server.pids, "double"), signal.SIGKILL)
            time.sleep(pause_s)

        monkeypatch.setattr(serve, "time", SimpleNamespace(sleep=disturb, monotonic=time.monotonic))
        monkeypatch.setattr(serve, "MAX_RESTARTS", 1)
        with pytest.raises(ServerUnavailable, match="ended by itself, since the process of its model double died"):
            serve._keep_running([server])
        said = capsys.readouterr().err
        assert said.count(f"gRPC at {server.url}") == len(lives) == 2
        assert "model double died, killed by SIGKILL (is there enough memory?)\nlipsync serve: restarting it\n" in said


def test_networks_are_run_without_telemetry() -> None:
    """ONNX Runtime sends no reports, unless the user turns them on."""
    assert runtime.find_runtime().environment({})["ORT_DISABLE_TELEMETRY"] == "1"
    assert runtime.find_runtime().environment({"ORT_DISABLE_TELEMETRY": "0"})["ORT_DISABLE_TELEMETRY"] == "0"


def test_model_that_cannot_load_fails_with_the_logs_words(tmp_path: Path) -> None:
    """The error shows why the model did not load."""
    write_model(tmp_path, "broken", DOUBLE_CONFIG, "import no_such_module")
    server = EmbeddedServer(ServerOptions(tmp_path, ("broken",)))
    with pytest.raises(ServerStartError, match="no_such_module"):
        server.__enter__()


def test_missing_network_fails_with_the_export_command(tmp_path: Path) -> None:
    """An ONNX model without its file says how to write it."""
    config = DOUBLE_CONFIG.replace('"python"', '"onnxruntime"')
    config += 'parameters { key: "export" value { string_value: "faces" } }'
    write_model(tmp_path, "network", config, None)
    with pytest.raises(ServerStartError, match=r"model\.onnx.*python -m export faces"):
        EmbeddedServer(ServerOptions(tmp_path, ("network",))).__enter__()


def test_step_that_differs_from_its_config_fails_to_load(tmp_path: Path) -> None:
    """A run() whose arguments are not the config's inputs is refused at load."""
    model = DOUBLE_MODEL.replace("run(self, values)", "run(self, x)")
    write_model(tmp_path, "wrong", DOUBLE_CONFIG, model)
    with pytest.raises(ServerStartError, match=r"expected run\(values\) as in config.pbtxt, got run\(x\)"):
        EmbeddedServer(ServerOptions(tmp_path, ("wrong",))).__enter__()


def test_taken_port_fails_with_its_number(toys: Path) -> None:
    """A fixed port that another program uses is named."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerStartError, match=f"port {port} taken"):
            EmbeddedServer(ServerOptions(toys, ("double",), grpc_port=port)).__enter__()


def test_port_of_a_living_server_fails_with_its_number(toys: Path, toy_server: EmbeddedServer) -> None:
    """A server that is there already is not taken for the one that was to start."""
    port = int(toy_server.url.rpartition(":")[2])
    with pytest.raises(ServerStartError, match=f"port {port} taken"):
        EmbeddedServer(ServerOptions(toys, ("double",), grpc_port=port)).__enter__()


def test_another_server_that_is_quicker_at_the_port_is_left_alone(
    toys: Path, toy_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A free port that is gone when the server binds it is not asked for readiness; another one is tried."""
    ports = iter([int(toy_server.url.rpartition(":")[2]), free_port()])
    monkeypatch.setattr("lipsync_core.serving.server.free_port", lambda: next(ports))
    monkeypatch.setattr("lipsync_core.serving.ports._can_bind", lambda port: True)
    with EmbeddedServer(ServerOptions(toys, ("double",))) as server:
        assert server.url != toy_server.url
        assert server.is_alive()


@pytest.mark.parametrize("endpoint", ["http_port", "metrics_port"])
def test_server_is_not_ready_before_all_its_ports_are(
    toys: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """Triton answers by gRPC a moment before it opens HTTP and metrics, which callers are told of too."""
    monkeypatch.setattr(EmbeddedServer, "_answers_by_grpc", lambda server, client: True)
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))
        server = EmbeddedServer(ServerOptions(toys, ("double",), **{endpoint: later.getsockname()[1]}))
        assert not server._answers_ready(None)
        later.listen()
        assert server._answers_ready(None)


def test_unknown_model_fails_before_the_start(toys: Path) -> None:
    """A model that the repository lacks is named, with what to do."""
    with pytest.raises(ServerStartError, match="expected the models of this version, got one without triple. Install"):
        EmbeddedServer(ServerOptions(toys, ("triple",))).__enter__()


def test_missing_libpython_fails_with_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shared libpython, the message names the package that holds it."""
    monkeypatch.setattr(runtime.Path, "is_file", lambda path: not path.name.startswith("libpython"))
    monkeypatch.setattr(runtime.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ServerStartError, match=r"apt-get install libpython3"):
        runtime.find_runtime()


def test_missing_wheel_fails_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A light client installation without the server says how to get one."""
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerStartError, match="pip install 'lipsync-triton"):
        runtime.find_runtime()
