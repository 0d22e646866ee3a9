from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from client.cli import serve
from client.errors import UsageError
from lipsync_core.serving import launch
from lipsync_core.serving.engines import find_gpu
from lipsync_core.serving.gpus import runs_on_gpu, visible_gpus
from lipsync_core.serving.server import ServerOptions
from perf.load import sweep
from perf.load.sample_data import SampleMaker
from tests.conftest import REPOSITORY
from tests.imitation_gpus import UUIDS, show_gpus


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_gpus(monkeypatch, tmp_path / "bin")


def server_options(*arguments: str) -> list[ServerOptions]:
    return serve._all_server_options(serve.build_parser().parse_args(arguments), ("latentsync",))


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, list(UUIDS)),
        ("1, 0", ["1", "0"]),
        ("GPU-bbbb", ["GPU-bbbb"]),
        ("0,7,1", ["0"]),
        ("MIG-cccc", ["MIG-cccc"]),
        ("", []),
        ("-1", []),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_use(two_gpus: None, visible: str | None, expected: list[str]) -> None:
    """In its order; it ends at the first entry that it does not know."""
    assert visible_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_no_driver_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment names."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert visible_gpus({}) == visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == []


def test_flavours_of_networks_run_on_gpus() -> None:
    """config.pbtxt runs on the CPU."""
    assert [name for name in (None, "torch", "torch_low_memory", "tensorrt") if runs_on_gpu(REPOSITORY, name)] == [
        "torch",
        "torch_low_memory",
        "tensorrt",
    ]


def test_one_server_per_gpu_is_served(two_gpus: None) -> None:
    """At neighbouring ports, each with one GPU; on the CPU one server is enough."""
    first, second = server_options("--model-config-name", "torch")
    assert (first.gpu, second.gpu) == UUIDS
    assert (first.grpc_port, first.http_port, first.metrics_port) == (8001, 8000, 8002)
    assert (second.grpc_port, second.http_port, second.metrics_port) == (8004, 8003, 8005)
    assert [one.gpu for one in server_options()] == [None]


def test_a_sweep_measures_one_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its server is one server too."""
    seen: list[ServerOptions] = []

    def start(options: ServerOptions) -> None:
        seen.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "EmbeddedServer", start)
    for flavour in ("torch", None):
        options = SimpleNamespace(url=None, repository=REPOSITORY, flavour=flavour)
        maker = SampleMaker(REPOSITORY, flavour)
        with pytest.raises(KeyboardInterrupt), sweep.open_target(options, maker, "wav2lip_generator"):  # type: ignore[arg-type]
            pass
    assert [one.gpu for one in seen] == [UUIDS[0], None]


@pytest.mark.parametrize("ports", [("--http-port", "8004"), ("--grpc-port", "65534")])
def test_ports_of_two_servers_that_meet_fail(two_gpus: None, ports: tuple[str, str]) -> None:
    """Before anything is started; the message says what leaves room."""
    with pytest.raises(UsageError, match=r"ports that leave room for 2 servers, one per GPU, 3 apart, got .* CUDA_VIS"):
        server_options("--model-config-name", "torch", *ports)


def test_the_image_serves_on_one_gpu(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several it uses the first, and says in one line what to do with the others."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    options = ["--model-repository", str(REPOSITORY), "--models", "latentsync", "--flavour", "torch"]
    monkeypatch.setattr(launch, "server_arguments", lambda *_: ["/nonexistent/tritonserver"])
    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(Popen=lambda _: None))
    assert launch.main(options) == launch.EXIT_USAGE  # there is no tritonserver
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "lipsync launch: GPU: expected one per container, got 2. This server uses 0 alone:"
        " start a container for each of the others"
    )
    assert len(lines) == 2


def test_engines_belong_to_the_gpu_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the first that the machine has."""
    echo = (sys.executable, "-c", "import sys; print(sys.argv[1:])")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb2222,GPU-aaaa1111")
    assert find_gpu(echo) == "['--id=GPU-bbbb2222']"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert find_gpu(echo) == "[]"
