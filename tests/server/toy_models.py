"""Small model repositories for tests of the server itself."""

from __future__ import annotations

from pathlib import Path

DOUBLE_CONFIG = """# takes: values
# gives: doubled
backend: "python"
max_batch_size: 0
input [ { name: "values" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""
DOUBLE_MODEL = """
import time
from lipsync_core.triton.step import TritonStep

class TritonPythonModel(TritonStep):
    def run(self, values):
        if len(values) == 0:
            raise ValueError("values: expected at least one, got none")
        if values[0] < 0:
            raise KeyError("secret detail")
        return {"doubled": values * 2}
"""
CALLER_CONFIG = DOUBLE_CONFIG.replace('"doubled"', '"called"') + (
    'parameters { key: "calls" value { string_value: "double" } }\n'
)
CALLER_MODEL = """
from lipsync_core.triton.step import TritonStep

class TritonPythonModel(TritonStep):
    def run(self, values):
        return {"called": self.infer("double", {"values": values})["doubled"]}
"""


ENSEMBLE_CONFIG = """platform: "ensemble"
max_batch_size: 0
input { name: "values" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "result" data_type: TYPE_FP32 dims: [ -1 ] }
ensemble_scheduling {
  step {
    model_name: "caller"
    model_version: -1
    input_map { key: "values" value: "values" }
    output_map { key: "called" value: "result" }
  }
}
"""


def write_model(repository: Path, name: str, config: str, model: str | None) -> None:
    """Write one model into a repository; None leaves its version folder empty."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if model is not None:
        (version / "model.py").write_text(model)


def write_toy_repository(repository: Path) -> Path:
    """Write `double`, `caller` that calls it, and `ensemble` of which that is the only step."""
    write_model(repository, "double", DOUBLE_CONFIG, DOUBLE_MODEL)
    write_model(repository, "caller", CALLER_CONFIG, CALLER_MODEL)
    write_model(repository, "ensemble", ENSEMBLE_CONFIG, None)
    return repository
