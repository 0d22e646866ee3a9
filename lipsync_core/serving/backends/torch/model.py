"""Python-based `torch` backend: serves model.pt2, an exported torch program, compiled for the shapes of its config.

Triton loads this file as the backend of every model whose configuration says `backend: "torch"`; the parameters are
those of lipsync_core.programs.settings. Where the configuration sets FORCE_CPU_ONLY_INPUT_TENSORS to "no", tensors
stay on the GPU on the way in and out.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

from lipsync_core.programs import cache
from lipsync_core.programs.config import read_settings
from lipsync_core.programs.device import card_name, choose_device, clear_memory_errors, find_compiler
from lipsync_core.programs.program import PROGRAM_FILE, load_program
from lipsync_core.programs.runner import StaticRunner
from lipsync_core.triton.network_backend import NetworkBackend
from lipsync_core.triton.tensors import from_triton, to_triton


class TritonPythonModel(NetworkBackend):
    """One instance of a program."""

    MODEL_FILE = PROGRAM_FILE

    def load(self, kind: str, device_id: int) -> None:
        """Load the program onto the instance's device and compile it for its shapes, before any request."""
        begin = time.perf_counter()
        try:
            self._device = choose_device(kind, device_id)
            with clear_memory_errors(self._device):
                self._prepare()
        except (ValueError, MemoryError) as error:
            raise self.refusal(str(error).removeprefix(f"{self.contract.name}: ")) from error
        pb_utils.Logger.log_info(
            f"{self.contract.name}: {self._settings.precision} on {card_name(self._device)},"
            f" {self._settings.compile}, ready after {time.perf_counter() - begin:.1f} s"
        )

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run the program on tensors [B, ...]; returns tensors [B, ...].

        Raises:
            ValueError: The shapes are not static, and the config refuses others.
            FloatingPointError: Half precision overflowed.
        """
        arranged = [inputs[place] for place in self._order]
        with clear_memory_errors(self._device):
            found = dict(zip(self._outputs, self._runner(arranged), strict=True))
        if not self._runner.is_static(arranged):
            self._log_other_shape(inputs)
        outputs = [found[spec.name] for spec in self.contract.outputs]
        if self._settings.precision != "fp32":
            self._check_finite(outputs)
        return outputs

    def read(self, tensor: Any) -> torch.Tensor:
        """View a Triton tensor as a tensor [...] on its own device."""
        return from_triton(tensor)

    def write(self, name: str, array: torch.Tensor) -> Any:
        """Pass a tensor [...] to Triton on its own device."""
        return to_triton(name, array)

    def join(self, arrays: list[torch.Tensor]) -> torch.Tensor:
        """Concatenate tensors [B, ...] along the batch axis, on the program's device."""
        return torch.cat([array.to(self._device) for array in arrays])

    def _prepare(self) -> None:
        self._settings, shapes = read_settings(self.contract)
        find_compiler(self._settings.compile)
        torch.set_num_threads(self.threads)
        self._open_cache()
        program = load_program(self.path, self._device)
        self.check_names(set(program.inputs), set(program.outputs))
        names = [spec.name for spec in self.contract.inputs]
        self._order = [names.index(name) for name in program.inputs]
        self._outputs = program.outputs
        self._others: set[tuple[torch.Size, ...]] = set()
        self._runner = StaticRunner(program.module, self._settings, self._device)
        dtypes = {spec.name: torch.from_numpy(np.empty(0, spec.dtype)).dtype for spec in self.contract.inputs}
        for sizes in shapes:
            self._runner.prepare([torch.zeros(sizes[name], dtype=dtypes[name]) for name in program.inputs])

    def _open_cache(self) -> None:
        if self._settings.compile == "eager":
            return
        settings = f"{self._settings.precision} {self._settings.compile} {self._settings.shapes}"
        record = cache.CacheRecord(torch.__version__, card_name(self._device), cache.program_hash(self.path), settings)
        for line in cache.open_cache(cache.cache_root(), self.contract.name, record):
            pb_utils.Logger.log_warn(line)

    def _log_other_shape(self, inputs: list[torch.Tensor]) -> None:
        """Log once per shape that it was not prepared and runs slower."""
        sizes = tuple(value.shape[1:] for value in inputs)
        if sizes not in self._others:
            self._others.add(sizes)
            shown = " ".join("x".join(map(str, size)) for size in sizes)
            pb_utils.Logger.log_warn(
                f"{self.contract.name}: {shown} behind the batch is none of its static shapes: runs as traced, slower."
                " Where that is not the last chunk of a clip: add it to shapes in configs/torch.pbtxt"
            )

    def _check_finite(self, outputs: list[torch.Tensor]) -> None:
        for spec, output in zip(self.contract.outputs, outputs, strict=True):
            if not torch.isfinite(output).all():
                raise FloatingPointError(
                    f"{spec.name}: expected finite values, got NaN or infinity in {self._settings.precision}."
                    " Set precision to bf16 or fp32 in the model's config"
                )
