"""The Modal app as far as it goes without an account: its graph, and the commands that it would run."""

from __future__ import annotations

import importlib.util
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from client.web.settings import build_parser, settings_from
from lipsync_core.serving import launch

APP = Path(__file__).resolve().parent.parent.parent / "docker" / "modal_app.py"


@pytest.fixture(scope="module")
def modal_app() -> ModuleType:
    """The app's module, which lies in no package."""
    pytest.importorskip("modal", reason="needs the extra dev")
    spec = importlib.util.spec_from_file_location("modal_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Started:
    """Stands for subprocess.Popen: keeps the commands, runs nothing."""

    commands: list[list[str]]

    def __init__(self, command: list[str], **_: Any) -> None:
        self.commands.append(command)

    def poll(self) -> None:
        return None


def test_page_runs_on_a_gpu_behind_tokens(modal_app: ModuleType) -> None:
    """The page's function has a GPU, the models' volume, and the secret with the tokens; the benchmark needs none."""
    page, benchmark = modal_app.web._spec_, modal_app.benchmark._spec_
    assert page.gpus == "L4"
    assert [repr(secret) for secret in page.secrets] == [repr(modal_app.tokens)]
    assert list(page.volumes) == list(benchmark.volumes) == ["/volume"]
    assert repr(page.image) == repr(benchmark.image) == repr(modal_app.image)
    assert benchmark.secrets == []


@pytest.mark.filterwarnings("ignore:The web function is executing locally")
def test_page_starts_triton_and_the_service(modal_app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both commands are ones that the programs understand, and the service believes Modal's proxy alone."""
    Started.commands = []
    monkeypatch.setattr(modal_app.subprocess, "Popen", Started)
    monkeypatch.setattr(modal_app, "is_ready", lambda: True)
    modal_app.web.local()
    triton, service = Started.commands
    assert triton[1:3] == ["-m", "lipsync_core.serving.launch"]
    assert launch.build_parser().parse_args(triton[3:]).model_repository == Path("/models")
    assert service[1:3] == ["-m", "client.web"]
    settings = settings_from(build_parser().parse_args(service[3:]), {})
    assert (settings.allowed_hosts, settings.trusted_proxies) == ((), ("*",))
    assert settings.data == Path("/data")


def test_triton_that_ends_fails(modal_app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Triton that does not come up ends the container's start instead of waiting for ever."""

    class Ended(Started):
        def poll(self) -> int:  # type: ignore[override]
            return 1

        def kill(self) -> None: ...

    Started.commands = []
    monkeypatch.setattr(modal_app.subprocess, "Popen", Ended)
    monkeypatch.setattr(modal_app, "HEALTH_PORT", 1)
    with pytest.raises(RuntimeError, match="Triton: expected it to be ready"):
        modal_app.start_triton()


def test_port_that_answers_something_else_is_not_ready(modal_app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no HTTP counts as no answer, and Triton is asked again."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall(b"nonsense\r\n\r\n")

        threads.submit(answer)
        monkeypatch.setattr(modal_app, "HEALTH_PORT", listener.getsockname()[1])
        monkeypatch.setattr(modal_app, "POLL_S", 30.0)
        assert not modal_app.is_ready()


def test_gpus_are_compared(modal_app: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each kind of GPU runs the benchmark; results land in a folder each, and a GPU without any is named."""
    asked = []

    class Call:
        def __init__(self, gpu: str) -> None:
            self.gpu = gpu

        def spawn(self, *sample: object) -> Call:
            asked.append((self.gpu, *sample))
            return self

        def get(self) -> dict[str, str]:
            return {} if self.gpu == "H100" else {"results.json": self.gpu}

    class Benchmark:
        def with_options(self, gpu: str) -> Call:
            return Call(gpu)

    monkeypatch.setattr(modal_app, "benchmark", Benchmark())
    for name in ("in.mp4", "speech.wav"):
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(SystemExit, match="no results from H100"):
        modal_app.compare_gpus(str(tmp_path / "in.mp4"), str(tmp_path / "speech.wav"), output=str(tmp_path / "out"))
    assert [call[0] for call in asked] == ["A100", "L4", "H100"]
    assert asked[0][1:] == (b"in.mp4", b"speech.wav", ".mp4", ".wav", 3)
    assert (tmp_path / "out" / "L4" / "results.json").read_text() == "L4"
