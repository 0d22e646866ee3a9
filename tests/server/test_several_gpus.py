from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.cli import serve
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.ports import free_port, listens
from lipsync_core.serving.runtime import ServerStartError
from tests.imitation_gpus import UUIDS, show_gpus
from tests.server.toy_models import DOUBLE_CONFIG, write_model

pytestmark = pytest.mark.server

SEEN_CONFIG = DOUBLE_CONFIG.replace('"doubled" data_type: TYPE_FP32', '"doubled" data_type: TYPE_STRING')
SEEN_MODEL = """
import os
import numpy as np
from lipsync_core.triton.step import TritonStep

class TritonPythonModel(TritonStep):
    def run(self, values):
        return {"doubled": np.array([os.environ.get("CUDA_VISIBLE_DEVICES", "all").encode()], np.object_)}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that tells which GPUs it sees, and one that has a flavour for them."""
    show_gpus(monkeypatch, tmp_path / "bin")
    write_model(tmp_path / "models", "seen", SEEN_CONFIG, SEEN_MODEL)
    write_model(tmp_path / "models", "network", DOUBLE_CONFIG, None)
    (tmp_path / "models" / "network" / "configs").mkdir()
    flavour = DOUBLE_CONFIG.replace('"python"', '"torch"')
    (tmp_path / "models" / "network" / "configs" / "torch.pbtxt").write_text(flavour)
    return tmp_path / "models"


def test_each_gpu_has_a_server_and_all_end_together(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each server's models see one GPU; what --url should get is said; an interruption ends all of them."""
    port = free_port()
    arguments = [f"--model-repository={repository}", "--model-config-name=torch", f"--grpc-port={port}"]
    arguments += [f"--http-port={port + 1}", f"--metrics-port={port + 2}"]
    options = serve._all_server_options(serve.build_parser().parse_args(arguments), ("seen",))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with serve._started_together(options) as servers:
        for server, gpu in zip(servers, UUIDS, strict=True):
            with TritonConnection(server.url) as connection:
                answer = connection.infer(InferRequest("seen", {"values": np.ones(1, np.float32)}))
            assert answer["doubled"].tolist() == [gpu.encode()]
        monkeypatch.setattr(serve, "time", SimpleNamespace(sleep=interrupt))
        with pytest.raises(KeyboardInterrupt):
            serve._keep_running(servers)
    said = capsys.readouterr().err
    assert f"gRPC at 127.0.0.1:{port} on {UUIDS[0]}; log in" in said
    assert f"use all of them with --url 127.0.0.1:{port},127.0.0.1:{port + 3}\n" in said
    assert not any(listens(port + offset) for offset in range(6))


def test_no_server_stays_where_a_later_one_fails(repository: Path) -> None:
    """One whose port is taken ends those that were started before it."""
    port = free_port()
    arguments = [f"--model-repository={repository}", f"--grpc-port={port}"]
    first = serve._server_options(serve.build_parser().parse_args(arguments), ("seen",))
    with pytest.raises(ServerStartError, match=f"port {port}"), serve._started_together([first, first]):
        pytest.fail("both were started")
    assert not listens(port)
