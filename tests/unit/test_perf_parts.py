from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from lipsync_core.contract import TensorSpec
from lipsync_core.serving.processes import descendants
from perf.__main__ import main
from perf.jobs import regression
from perf.jobs.regression import BATCH, CONCURRENCY, FACES, JOB, MOUTHS, SHARED_MEMORY
from perf.jobs.scaling import waiting_repository
from perf.load import install_perf_analyzer
from perf.load.sample_values import SampleValues, fit
from perf.load.tensor_makers import compatible
from perf.machine import conditions, gpu
from perf.machine.conditions import limit_cores, machine_conditions
from perf.machine.memory import tree_bytes

SMI = """#!/bin/sh
case "$1" in
*index,uuid,name*)
    echo "0, GPU-aaaa1111-0000, NVIDIA H100 80GB HBM3, 81559, 550.54"
    echo "1, GPU-bbbb2222-0000, NVIDIA L4, 23034, 550.54" ;;
*utilization*) echo "87, 2000, [N/A]" ;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, as nvidia-smi tells it."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_listed_with_their_driver(smi: None) -> None:
    """Each with its name, memory in MB and driver."""
    found = gpu.list_gpus()
    assert [(card.index, card.name, card.driver) for card in found] == [
        (0, "NVIDIA H100 80GB HBM3", "550.54"),
        (1, "NVIDIA L4", "550.54"),
    ]
    assert found[0].memory_mb == pytest.approx(81559 * 1.048576, abs=0.1)  # MiB to MB


@pytest.mark.parametrize(
    ("visible", "indices"),
    [("1", [1]), ("0, 1", [0, 1]), ("GPU-bbbb2222-0000", [1]), ("GPU-bbbb", [1]), ("", []), ("-1", [])],
)
def test_hidden_gpus_are_left_out(smi: None, monkeypatch: pytest.MonkeyPatch, visible: str, indices: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES names those that count, by index or, as clusters do, by UUID."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.index for card in gpu.list_gpus()] == indices


def test_a_gpu_is_watched(smi: None) -> None:
    """Mean use and largest memory of the samples; what a card does not report counts as 0."""
    with gpu.GpuSampler(gpu.local_look([0, 1])) as sampler:
        pass
    assert sampler.figures == {
        "gpu_utilization": 87.0,
        "gpu_memory_mb": pytest.approx(2097.2),
        "gpu_power_w": 0.0,
    }


def test_a_triton_tells_of_its_gpus() -> None:
    """Metrics become percent, MB and W, card by card; other lines do not count."""
    text = """# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.930000
nv_gpu_utilization{gpu_uuid="GPU-2"} 0.000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 85520809984.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1500000000.000000
nv_gpu_power_usage{gpu_uuid="GPU-1"} 312.500000
nv_inference_count{model="faces",version="1"} 7
"""
    assert gpu.read_metrics(text) == [gpu.GpuUse(93.0, 1500.0, 312.5), gpu.GpuUse(0.0, 0.0, 0.0)]
    assert gpu.metrics_look("127.0.0.1:1")() == []  # nobody answers


def test_a_broken_answer_is_no_look() -> None:
    """A server that dies while it answers ends neither the sampler nor the sweep."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnv_gpu")

        threads.submit(answer)
        assert gpu.metrics_look(f"127.0.0.1:{listener.getsockname()[1]}")() == []


def test_without_a_driver_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No nvidia-smi, no GPU, no figures, no error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.list_gpus() == []
    assert machine_conditions()["driver"] == ""


def test_memory_of_what_a_process_started_counts() -> None:
    """A child's 64 MB are seen in the tree's sum."""
    code = "data = bytearray(64_000_000); print(flush=True); input()"
    before = tree_bytes(os.getpid())
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown = tree_bytes(os.getpid()) - before
        child.communicate("\n")
    assert grown > 60e6  # the array; the interpreter comes on top, this process may shrink a little


def test_processes_that_end_meanwhile_are_left_out() -> None:
    """A tree can be walked while its processes come and go, and what stays in it is always found."""
    churn = "sleep 600 & echo $!; while :; do sh -c :; done"
    with subprocess.Popen(["sh", "-c", churn], stdout=subprocess.PIPE, text=True, start_new_session=True) as shell:
        try:
            assert shell.stdout is not None
            staying = int(shell.stdout.readline())
            for _ in range(2000):
                assert {shell.pid, staying} <= set(descendants(shell.pid))
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def test_more_cores_than_there_are_fail() -> None:
    """The usable number is named."""
    with pytest.raises(UsageError, match=r"cores: expected 1 to \d+, got 0"):
        limit_cores(0)


def test_a_waiting_server_has_one_slow_generator(tmp_path: Path) -> None:
    """Only the generator is copied, and waits; the models around it, whose networks may be large, are links."""
    repository = waiting_repository(tmp_path, ("faces", "mouth_motion"), 0.25)
    assert {path.name for path in repository.iterdir() if not path.is_symlink()} == {"mouth_warp"}
    assert (repository / "mouth_motion" / "config.pbtxt").is_file()
    assert "time.sleep(0.25)" in (repository / "mouth_warp" / "1" / "model.py").read_text()
    assert re.findall(r"count: (\d+)", (repository / "mouth_warp" / "config.pbtxt").read_text()) == ["1"]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("job", "--runs"),
        ("scaling", "--runs"),
        ("scaling", "--servers"),
        ("soak", "--jobs"),
    ],
)
def test_no_run_at_all_fails(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Medians of nothing are refused before anything starts."""
    with pytest.raises(SystemExit) as ended:
        main([command, "video.mp4", "speech.wav", option, "0"])
    assert ended.value.code == 2
    assert f"argument {option}: expected a whole number of at least 1, got '0'" in capsys.readouterr().err


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed copy has no commit to name."""
    monkeypatch.setattr(conditions, "ROOT", tmp_path)
    assert conditions.git_commit() == "unknown"


def test_a_doubled_time_fails_every_check_and_usual_noise_none() -> None:
    """Each limit lies between a quarter worse than usual and twice as bad."""
    for check in (SHARED_MEMORY, BATCH, CONCURRENCY, FACES, MOUTHS, JOB):
        worse = (lambda usual, factor: usual / factor) if check.better == "larger" else (lambda u, f: u * f)
        assert check.holds(worse(check.usual, 1.25)), check
        assert not check.holds(worse(check.usual, 2)), check
        assert "got 1.00" in check.verdict(1.0)


def test_a_ratio_beyond_its_limit_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per check, the bad one marked; the exit code tells CI."""
    monkeypatch.setattr(regression, "measure_ratios", lambda rounds: {BATCH: BATCH.usual, JOB: 2 * JOB.usual})
    assert main(["regression"]) == 1
    good, bad = capsys.readouterr().out.splitlines()
    assert good.startswith("ok ")
    assert bad.startswith("SLOWER a whole job over decoding and encoding")
    monkeypatch.setattr(regression, "measure_ratios", lambda rounds: {BATCH: BATCH.usual})
    assert main(["regression", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ratios"][0]["holds"] is True


def test_a_ratio_is_that_of_the_shortest_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single slow run of either action does not count."""
    durations = iter([9.0, 9.0, 10.0, 1.0, 2.0, 10.0, 10.0, 10.0])
    now = [0.0]

    def work() -> None:
        now[0] += next(durations)

    monkeypatch.setattr(regression.time, "perf_counter", lambda: now[0])
    assert regression.ratio_of_best(work, work, 3) == 2


def test_a_tensor_fits_the_input_that_it_becomes() -> None:
    """The first of several faces, one axis more, and bytes to -1..1."""
    assert fit(np.ones((4, 8, 3, 2), np.float32), 3, np.dtype(np.float32)).shape == (4, 3, 2)
    assert fit(np.ones((16, 50, 384), np.float32), 4, np.dtype(np.float32)).shape == (1, 16, 50, 384)
    assert fit(np.full((1, 2), 255, np.uint8), 2, np.dtype(np.float32)).max() == 1
    assert compatible((-1, 468, 3), (468, 3))
    assert not compatible((-1, 80, 16), (80, 3000))


def test_images_have_the_size_that_an_input_asks_for() -> None:
    """A fixed one, as the face parser's; else that of the faces."""
    values = SampleValues(frame_size=128, resolution=64)
    fixed, free = (TensorSpec("images", np.dtype(np.float32), (3, edge, edge)) for edge in (512, -1))
    assert values.images(fixed, 2).shape == (2, 3, 512, 512)
    assert values.images(free, 2).shape == (2, 3, 64, 64)


def test_another_file_as_wheel_fails_with_both_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the pinned wheel is unpacked."""
    wheel = install_perf_analyzer.TRITON_CLIENT
    (tmp_path / wheel.file_name).write_bytes(b"another")
    assert main(["install-perf-analyzer", "--wheels", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert wheel.sha256 in said
    assert hashlib.sha256(b"another").hexdigest() in said
