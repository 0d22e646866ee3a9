"""Python-based `onnxruntime` backend: serves model.onnx without Triton's native backend of the same name.

Triton loads this file as the backend of every model whose config.pbtxt says `backend: "onnxruntime"`. It knows the
same parameters as the native backend: intra_op_thread_count, inter_op_thread_count, enable_mem_arena.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

from lipsync_core.network_files import NETWORK_FILES
from lipsync_core.triton.network_backend import NetworkBackend, thread_count


class TritonPythonModel(NetworkBackend):
    """One instance of an ONNX model."""

    MODEL_FILE = NETWORK_FILES["onnxruntime"]

    def load(self, kind: str, device_id: int) -> None:
        """Open an ONNX Runtime session on the instance's device with the config's thread counts."""
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "GPU":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise self.refusal(
                    "expected onnxruntime with CUDA for KIND_GPU, got a CPU build."
                    " Install onnxruntime-gpu, or set KIND_CPU in config.pbtxt"
                )
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(device_id)}))
        try:
            self.session = onnxruntime.InferenceSession(str(self.path), self._options(), providers=providers)
        except Exception as error:
            raise self.refusal(
                f"expected a valid ONNX model in {self.path}, got: {error}."
                f" Export the model again with: {self.export_command}"
            ) from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.check_names({node.name for node in inputs}, {node.name for node in outputs})

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Run the session on arrays [B, ...]; returns arrays [B, ...]."""
        feeds = {spec.name: array for spec, array in zip(self.contract.inputs, inputs, strict=True)}
        outputs: list[np.ndarray] = self.session.run([spec.name for spec in self.contract.outputs], feeds)
        return outputs

    def read(self, tensor: Any) -> np.ndarray:
        """View a Triton tensor as an array [...]."""
        array: np.ndarray = tensor.as_numpy()
        return array

    def write(self, name: str, array: np.ndarray) -> Any:
        """Wrap an array [...] in a Triton tensor."""
        return pb_utils.Tensor(name, np.ascontiguousarray(array))

    def join(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Concatenate arrays [B, ...] along the batch axis."""
        return np.concatenate(arrays)

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = thread_count(self.contract, "inter_op_thread_count")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to other models
        options.enable_cpu_mem_arena = self.contract.parameters.get("enable_mem_arena", "1") == "1"
        options.log_severity_level = 3  # errors
        return options
