from __future__ import annotations

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.access import TOKEN_HEADER
from lipsync_core.serving.endpoints import LOOPBACK
from lipsync_core.serving.ports import free_port, free_ports
from lipsync_core.serving.processes import LOOK_EVERY_S, descendants
from lipsync_core.serving.runtime import find_runtime
from tests.conftest import REPOSITORY, ROOT
from tests.server.toy_models import DOUBLE_CONFIG, write_model, write_toy_repository
from tests.waiting import wait_until

pytestmark = pytest.mark.server

ADMIN_TOKEN_HEADER = "triton-grpc-protocol-admin-token"  # as docker/README.md tells operators
TOKEN = "callers-token-0123456789"
READY_WITHIN_S = 120.0  # a busy machine takes its time


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def launched(folder: Path, *arguments: str) -> Iterator[SimpleNamespace]:
    """Run the image's entrypoint with the embedded tritonserver; its own addresses are put back on loopback."""
    runtime = find_runtime()
    ports = dict(zip(("grpc", "http", "metrics"), free_ports(3), strict=True))
    (folder / "tmp").mkdir(parents=True)
    log = folder / "log"
    command = [sys.executable, "-m", "lipsync_core.serving.launch", f"--tritonserver={runtime.executable}", *arguments]
    command += ["--", f"--backend-directory={runtime.lay_out_backends(folder / 'backends')}"]
    command += [f"--backend-config=python,shm-region-prefix-name=lipsync-launch-{ports['grpc']}-"]
    for endpoint, port in ports.items():
        command += [f"--{endpoint}-address={LOOPBACK}", f"--{endpoint}-port={port}"]
    environment = runtime.environment({**os.environ, "TMPDIR": str(folder / "tmp")})
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as server:
        try:
            http_url = f"http://{LOOPBACK}:{ports['http']}/v2"
            _wait_until_ready(http_url, server, log)
            metrics_url = f"http://{LOOPBACK}:{ports['metrics']}/metrics"
            yield SimpleNamespace(
                grpc=f"{LOOPBACK}:{ports['grpc']}", http=http_url, metrics=metrics_url, log=log, process=server
            )
        finally:
            server.terminate()


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=1)
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(log.read_text()[-4000:])


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = write_toy_repository(tmp_path_factory.mktemp("toys"))
    for path in [*repository.rglob("*"), repository]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return repository


@pytest.fixture(scope="module")
def collector() -> Iterator[SimpleNamespace]:
    """A stand-in for an OpenTelemetry collector: keeps what is posted to it."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield SimpleNamespace(url=f"http://{LOOPBACK}:{server.server_port}/v1/traces", bodies=bodies)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(
    toys: Path, collector: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    folder = tmp_path_factory.mktemp("launched")
    (folder / "token").write_text(f"{TOKEN}\n")
    options = [f"--model-repository={toys}", "--models", "caller", f"--token-file={folder / 'token'}"]
    options += [f"--trace-url={collector.url}", "--trace-every=1", "--log-verbose=1"]
    with launched(folder / "server", *options) as up:
        yield up


def _infer(url: str, headers: dict[str, str], request_id: str, value: float = 1.0) -> np.ndarray:
    tensor = triton_grpc.InferInput("values", [2], "FP32")
    tensor.set_data_from_numpy(np.full(2, value, np.float32))
    with triton_grpc.InferenceServerClient(url) as client:
        return client.infer("caller", [tensor], headers=headers, request_id=request_id).as_numpy("called")


def test_a_caller_with_the_token_is_served(server: SimpleNamespace) -> None:
    """The entrypoint's own command line serves the models that it was told, from a repository it cannot write to."""
    np.testing.assert_array_equal(_infer(server.grpc, {TOKEN_HEADER: f"Bearer {TOKEN}"}, "served"), [2, 2])


def test_every_other_call_fails(server: SimpleNamespace) -> None:
    """Without token no inference; shared memory and the operator's calls for nobody, whatever the token."""
    with pytest.raises(InferenceServerException, match="restricted"):
        _infer(server.grpc, {}, "refused")
    headers = {TOKEN_HEADER: f"Bearer {TOKEN}", ADMIN_TOKEN_HEADER: TOKEN}
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        for call in (
            lambda: client.register_system_shared_memory("region", "/region", 64, headers=headers),
            lambda: client.register_cuda_shared_memory("region", b"", 0, 64, headers=headers),
            lambda: client.load_model("double", headers=headers),
            lambda: client.unload_model("double", headers=headers),
            lambda: client.get_model_repository_index(headers=headers),
            lambda: client.update_trace_settings(settings={"trace_rate": "1"}, headers=headers),
            lambda: client.update_log_settings({"log_verbose_level": 9}, headers=headers),
        ):
            with pytest.raises(InferenceServerException, match="restricted"):
                call()


@pytest.mark.parametrize("path", ["", "/models/caller", "/models/caller/infer", "/models/stats", "/logging"])
def test_http_answers_nothing_but_health(server: SimpleNamespace, path: str) -> None:
    """HTTP is there for probes alone."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(server.http + path)


def test_images_health_check_sees_readiness(server: SimpleNamespace) -> None:
    """Docker's probe passes where the server is ready, and fails where nothing listens."""
    dockerfile = (ROOT / "docker" / "Dockerfile.triton").read_text()
    line = re.search(r'CMD \["python3", "-c", "(.+)"\]', dockerfile)
    assert line is not None
    for port, passes in ((server.http.split(":")[2].partition("/")[0], True), (str(free_port()), False)):
        probe = [sys.executable, "-c", line[1].replace("8000", port)]
        assert (subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0) is passes


def test_a_model_whose_process_dies_ends_the_server(toys: Path, tmp_path: Path) -> None:
    """Triton would say that it is ready for ever; the container's restart policy needs an end, and people a reason."""
    with launched(tmp_path / "server", f"--model-repository={toys}", "--models", "double") as server:
        stubs = [pid for pid in descendants(server.process.pid) if b"double_0_0" in command_line(pid)]
        time.sleep(3 * LOOK_EVERY_S)  # the watcher knows only models that it has seen alive
        os.kill(stubs[0], signal.SIGKILL)
        server.process.wait(60)
        assert "since the process of its model double died, killed by SIGKILL (is there" in server.log.read_text()


def test_request_id_is_in_the_log(server: SimpleNamespace) -> None:
    """The caller's id stands at the request, and at the one that its model sent on."""
    _infer(server.grpc, {TOKEN_HEADER: f"Bearer {TOKEN}"}, "job-7-chunk-3")
    wait_until(lambda: _logged_models(server.log, "job-7-chunk-3") >= {"caller", "double"})


def _logged_models(log: Path, request_id: str) -> set[str]:
    """Return the models whose lines in the log, which may come after the answer, name a request."""
    lines = [line for line in log.read_text().splitlines() if request_id in line]
    return {found[1] for line in lines if (found := re.search(r"model: (\w+)", line))}


def test_request_id_goes_through_an_ensemble(
    model_repository: Path, collector: SimpleNamespace, tmp_path: Path
) -> None:
    """From the caller through each step to the networks that the steps call, in log and traces."""
    options = [f"--model-repository={model_repository}", "--models", "faces", "--log-verbose=1"]
    options += [f"--trace-url={collector.url}", "--trace-every=1"]
    through = ("faces", "detect_faces", "face_detector", "landmark_faces")
    with launched(tmp_path / "server", *options) as server, triton_grpc.InferenceServerClient(server.grpc) as client:
        frames = triton_grpc.InferInput("frames", [1, 64, 64, 3], "UINT8")
        frames.set_data_from_numpy(np.zeros((1, 64, 64, 3), np.uint8))
        client.infer("faces", [frames], request_id="job-9-chunk-2")
        wait_until(lambda: _logged_models(server.log, "job-9-chunk-2") >= set(through))
        with TritonConnection(server.grpc) as connection:  # without a token to ask for, and no shared memory to have
            assert connection.transport == "grpc"
            connection.infer(InferRequest("faces", {"frames": np.zeros((4, 256, 256, 3), np.uint8)}))
    assert all(model.encode() in b"".join(collector.bodies) for model in through)  # the last are sent at the end


def test_request_id_stands_at_a_models_error(server: SimpleNamespace) -> None:
    """A defect's traceback in the log can be found by the id that the caller knows."""
    with pytest.raises(InferenceServerException, match="KeyError"):
        _infer(server.grpc, {TOKEN_HEADER: f"Bearer {TOKEN}"}, "job-8-chunk-1", value=-1)
    wait_until(lambda: "[request id: job-8-chunk-1] double: Traceback" in server.log.read_text())


def test_traces_reach_the_collector(server: SimpleNamespace, collector: SimpleNamespace) -> None:
    """Spans of the called models arrive under our service's name."""
    _infer(server.grpc, {TOKEN_HEADER: f"Bearer {TOKEN}"}, "traced")
    deadline = time.monotonic() + READY_WITHIN_S
    while not any(b"double" in body for body in collector.bodies) and time.monotonic() < deadline:
        time.sleep(0.1)
    spans = b"".join(collector.bodies)
    assert b"lipsync-triton" in spans
    assert b"caller" in spans
    assert b"double" in spans


def test_the_log_has_iso_times(server: SimpleNamespace) -> None:
    """Lines begin with a date that log collectors know."""
    started = next(line for line in server.log.read_text().splitlines() if "Started GRPC" in line)
    assert time.strptime(started.split()[0], "%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    "missing", ["models", "token", "certificate", "gpu", "program", "flavour", "folder", "network"]
)
def test_launch_fails_in_one_line(tmp_path: Path, toys: Path, missing: str) -> None:
    """Each is said: nothing to serve, no secret, certificate, GPU, program, flavour, network or folder."""
    (tmp_path / "empty").mkdir()
    if missing == "folder":
        (tmp_path / "lipsync-models").touch()
    write_model(tmp_path / "unexported", "network", DOUBLE_CONFIG.replace('"python"', '"onnxruntime"'), None)
    (tmp_path / "token").touch()
    arguments, message = {
        "models": ([f"--model-repository={tmp_path / 'empty'}"], "models: expected exported models"),
        "token": ([f"--model-repository={toys}", f"--token-file={tmp_path / 'token'}"], "token: expected one in"),
        "certificate": (
            [f"--model-repository={toys}", "--tls-cert=/no.pem", "--tls-key=/no.key"],
            "tls: expected a PEM",
        ),
        "program": ([f"--model-repository={toys}"], "tritonserver: expected the program"),
        "folder": ([f"--model-repository={toys}"], "models: expected a temporary folder"),
        "network": (
            [f"--model-repository={tmp_path / 'unexported'}", "--models=network"],
            "models: expected exported networks, got no model.onnx of network",
        ),
        "flavour": (
            [f"--model-repository={toys}", "--flavour=torsch"],
            "--flavour: expected one of auto, cpu in",
        ),
        "gpu": (
            [f"--model-repository={REPOSITORY}", "--models=wav2lip", "--flavour=tensorrt"],
            "GPU: expected one that nvidia-smi shows",
        ),
    }[missing]
    environment = {**os.environ, "PATH": "/nonexistent", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "lipsync_core.serving.launch", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"lipsync launch: {message}")
    assert result.stderr.count("\n") == 1
