"""A machine with NVIDIA GPUs, as far as nvidia-smi tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

UUIDS = ("GPU-aaaa1111", "GPU-bbbb2222")


def show_gpus(monkeypatch: pytest.MonkeyPatch, folder: Path, uuids: tuple[str, ...] = UUIDS) -> None:
    """Put an nvidia-smi first in the path that lists these GPUs, all of them visible."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "nvidia-smi"
    command.write_text("#!/bin/sh\n" + "".join(f"echo {uuid}\n" for uuid in uuids))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
