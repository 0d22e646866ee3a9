"""The backend of torch programs in a real Triton, on a toy; whole networks take too long to export for every change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from torch import nn  # noqa: E402

from client.servers.calls import InferRequest  # noqa: E402
from client.servers.connection import TritonConnection  # noqa: E402
from lipsync_core.programs.program import save_program  # noqa: E402
from lipsync_core.serving.server import EmbeddedServer, ServerOptions  # noqa: E402

pytestmark = pytest.mark.server
CONFIG = """backend: "torch"
max_batch_size: 4
input { name: "values" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] }
instance_group { kind: KIND_CPU }
parameters { key: "precision" value { string_value: "fp32" } }
parameters { key: "compile" value { string_value: "eager" } }
parameters { key: "cuda_graph" value { string_value: "false" } }
parameters { key: "shapes" value { string_value: "values=2x3" } }
parameters { key: "export" value { string_value: "wav2lip --format torch" } }
"""


class Double(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "toy" / "config.pbtxt").write_text(CONFIG)
    axes = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
    program = torch.export.export(Double(), (torch.ones(2, 3),), dynamic_shapes=axes)
    save_program(program, tmp_path / "toy" / "1" / "model.pt2", ("values",), ("doubled",))
    return tmp_path


def test_a_torch_program_is_served(repository: Path) -> None:
    """Its static size and others alike."""
    with EmbeddedServer(ServerOptions(repository, ("toy",))) as server, TritonConnection(server.url) as connection:
        for rows, columns in ((2, 3), (1, 5)):
            values = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
            found = connection.infer(InferRequest("toy", {"values": values}))["doubled"]
            assert np.array_equal(found, values * 2)
