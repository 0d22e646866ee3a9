"""Finds and runs Triton's perf_analyzer for one load, and reads its figures."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.servers.proxies import EXCEPTIONS
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.endpoints import LOOPBACK_NAMES
from perf.load.results import Load

BINARY = "perf_analyzer"
FOLDER = DEFAULT_REPOSITORY.parent / "build" / "perf_analyzer"  # written by install-perf-analyzer
LIBRARY_FOLDER = FOLDER / "lib"
SHARED_MEMORY = Path("/dev/shm")
WINDOWS = 3  # perf_analyzer never reports fewer
ANY_SPREAD = 100_000  # percent; the spread of the windows is judged here instead, so that unstable figures are kept
CUDA_LIBRARY = "libcudart.so.12"
HINT = (
    "Get it with: python -m perf install-perf-analyzer"
    " (on Debian and Ubuntu it also needs libb64: apt-get install libb64-0d)"
)
PASS = re.compile(r"Pass \[\d+\] throughput: ([\d.e+]+) infer/sec")
# perf_analyzer's column, in microseconds -> ours, in milliseconds
COLUMNS = {
    "Avg latency": "average_ms",
    "p50 latency": "p50_ms",
    "p90 latency": "p90_ms",
    "p95 latency": "p95_ms",
    "p99 latency": "p99_ms",
    "Client Send": "client_send_ms",
    "Network+Server Send/Recv": "network_ms",
    "Server Queue": "queue_ms",
    "Server Compute Input": "compute_input_ms",
    "Server Compute Infer": "compute_infer_ms",
    "Server Compute Output": "compute_output_ms",
    "Client Recv": "client_receive_ms",
}
THROUGHPUT = "Inferences/Second"


class AnalyzerFailed(Exception):
    """perf_analyzer gave no figures; the message is its own, in one line."""


@dataclass(frozen=True)
class PerfAnalyzer:
    """The binary, and the folders of the libraries that it needs."""

    executable: Path
    library_folders: tuple[Path, ...]

    @property
    def version(self) -> str:
        """Version as the binary prints it, and the beginning of its hash.

        Raises:
            ValueError: the binary does not start; the message says what to install.
        """
        try:
            done = subprocess.run(
                [str(self.executable), "--version"],
                env=self._environment(),
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise ValueError(f"{self.executable}: expected a binary for this machine, got {error}. {HINT}") from error
        if done.returncode == 127 or "error while loading" in done.stderr or "GLIBC" in done.stderr:
            raise ValueError(f"{self.executable}: expected its libraries, got: {done.stderr.strip()}. {HINT}")
        said = " ".join((done.stdout + done.stderr).split())
        with self.executable.open("rb") as file:
            return f"{said}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"

    def measure(self, url: str, load: Load, request: SampleRequest, interval_s: float) -> dict[str, float]:
        """Put one load on a model and return its figures by name.

        Args:
            url: HOST:PORT of the server's gRPC endpoint.
            load: The load.
            request: The request that is sent again and again.
            interval_s: Length of each of the three windows, in seconds.

        Raises:
            AnalyzerFailed: there are no figures.
        """
        with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
            report = Path(folder) / "report.csv"
            command = self._command(url, load, request, interval_s, Path(folder), report)
            timeout_s = 60 + 10 * WINDOWS * interval_s
            with _no_shared_memory_left((*request.inputs, *request.outputs)):
                done = self._run(command, timeout_s)
            if done.returncode or not report.is_file():
                raise AnalyzerFailed(failure_line(done.returncode, done.stdout, done.stderr))
            return read_figures(report.read_text(encoding="utf-8"), done.stdout)

    def _run(self, command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run the binary; it is killed if this process is interrupted."""
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self._environment(), stdout=pipe, stderr=pipe, text=True) as process:
            try:
                output, errors = process.communicate(timeout=timeout_s)
            except BaseException as error:
                process.kill()
                process.communicate()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise AnalyzerFailed(f"no figures within {timeout_s:.0f} s") from error
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def _command(
        self, url: str, load: Load, request: SampleRequest, interval_s: float, folder: Path, report: Path
    ) -> list[str]:
        data = folder / "data.json"
        data.write_text(json.dumps({"data": [encode_inputs(request.inputs)]}), encoding="utf-8")
        command = [str(self.executable), "-m", load.model, "-u", url, "-i", "grpc", "--input-data", str(data)]
        command += ["-b", str(load.batch)] if request.is_batched else []
        command += ["-p", str(math.ceil(interval_s * 1000)), "-s", str(ANY_SPREAD), "-r", str(WINDOWS)]
        command += ["-f", str(report), "--verbose-csv", "-v"]
        rate = f"{load.value:g}"
        command += ["--concurrency-range" if load.mode == "concurrency" else "--request-rate-range", rate]
        if load.transport == "shm":
            command += ["--shared-memory", "system", "--output-shared-memory-size", str(request.output_bytes)]
        return command

    def _environment(self) -> dict[str, str]:
        folders = [*map(str, self.library_folders), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        excepted = next(filter(None, map(os.environ.get, EXCEPTIONS)), None)
        return {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(folders),
            "no_grpc_proxy": ",".join(filter(None, [excepted, *LOOPBACK_NAMES])),
        }


@dataclass(frozen=True)
class SampleRequest:
    """A request for a model.

    Attributes:
        inputs: Arrays by name, without the batch axis if the model has one.
        is_batched: Whether the model has a batch axis, which perf_analyzer then adds.
        output_bytes: Size of the largest output, batch included, in bytes.
        outputs: Names of the outputs.
    """

    inputs: Mapping[str, np.ndarray]
    is_batched: bool
    output_bytes: int
    outputs: tuple[str, ...] = ()


def find_perf_analyzer() -> PerfAnalyzer:
    """Find the binary on PATH, among the scripts of installed wheels, or in build/.

    Raises:
        ValueError: there is none; the message says how to get it.
    """
    on_path = shutil.which(BINARY)
    candidates = [Path(on_path)] if on_path else []
    candidates += [Path(sysconfig.get_path("scripts")) / BINARY, FOLDER / BINARY]
    for candidate in candidates:
        if candidate.is_file():
            return PerfAnalyzer(candidate, tuple(_cuda_folders()))
    raise ValueError(f"{BINARY}: expected it on PATH, in an installed wheel or in {FOLDER}, got none. {HINT}")


def encode_inputs(inputs: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Turn arrays into perf_analyzer's JSON: text as it is, numbers as raw bytes in base64, and a shape."""
    return {name: {"content": _content(array), "shape": list(array.shape)} for name, array in inputs.items()}


def _content(array: np.ndarray) -> list[str] | dict[str, str]:
    if array.dtype == np.object_:
        return [text.decode() for text in array.reshape(-1)]
    return {"b64": base64.b64encode(array.tobytes()).decode()}


def read_figures(report: str, output: str) -> dict[str, float]:
    """Read the figures from perf_analyzer's CSV, and the windows from its output.

    Raises:
        AnalyzerFailed: there is no row of figures.
    """
    rows = list(csv.DictReader(report.splitlines()))
    if not rows or not rows[0].get(THROUGHPUT) or not float(rows[0][THROUGHPUT]):
        raise AnalyzerFailed("expected a row of figures, got an empty report")
    figures = {"inferences_per_s": float(rows[0][THROUGHPUT])}
    figures |= {ours: float(rows[0][theirs]) / 1000 for theirs, ours in COLUMNS.items() if rows[0].get(theirs)}
    windows = [float(text) for text in PASS.findall(output)][-WINDOWS:]
    figures["spread"] = spread(windows)
    return figures


def spread(throughputs: list[float]) -> float:
    """Return the spread of the windows' throughputs: largest minus smallest, over their mean."""
    mean = sum(throughputs) / len(throughputs) if throughputs else 0.0
    return round((max(throughputs) - min(throughputs)) / mean, 4) if mean else 0.0


def failure_line(code: int, output: str, errors: str) -> str:
    """Return in one line why there are no figures."""
    if code < 0:
        return f"perf_analyzer was killed by signal {-code}"
    lines = [line.strip() for line in (output + "\n" + errors).splitlines()]
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    said = (telling or [line for line in lines if line] or ["nothing"])[-1]
    return f"perf_analyzer: exit code {code}: {said.removeprefix('error: ')}"


@contextmanager
def _no_shared_memory_left(names: Iterable[str]) -> Generator[None, None, None]:
    """Remove what a killed perf_analyzer leaves in /dev/shm, where its regions are named after the tensors."""
    before = set(SHARED_MEMORY.glob("*"))
    try:
        yield
    finally:
        pattern = re.compile(f"({'|'.join(map(re.escape, names))})[0-9_]*")
        for path in set(SHARED_MEMORY.glob("*")) - before:
            if pattern.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _cuda_folders() -> list[Path]:
    """Return the folders with the CUDA runtime that the binary is linked with: of an installed wheel, and in build/."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) / "cuda_runtime" / "lib" for root in (spec.submodule_search_locations or [])] if spec else []
    return [folder for folder in (*roots, LIBRARY_FOLDER) if (folder / CUDA_LIBRARY).is_file()]
