from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from client.batch.pace import Pace
from client.cli.batch import batch_command
from client.errors import UsageError
from client.running.ray_cluster import HEAD_CALL
from lipsync_core.serving.ports import free_port
from tests.conftest import ROOT

PROGRAM = "import sys; from client.lipsync import main; sys.exit(main(sys.argv[1:]))"


def batch(folder: Path, *arguments: str, program: str = PROGRAM, **variables: str) -> tuple[int, str]:
    """Run a batch of one line in a process of its own; returns exit code and stderr."""
    (folder / "jobs.jsonl").write_text('{"video": "v.mp4", "audio": "a.wav", "output": "o.mp4"}\n')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program, "batch", "--batch", str(folder / "jobs.jsonl"), *arguments],
        env={**environment, "HOME": str(folder), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_batch_without_ray_fails_in_one_line(tmp_path: Path) -> None:
    """It names the extra."""
    assert batch(tmp_path, "--ray", "auto", program=f"import sys; sys.modules['ray'] = None; {PROGRAM}") == (
        2,
        "lipsync: --ray: expected the package ray, got none. Install it with: pip install 'lipsync-triton[ray]'\n",
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "start"),
    [
        (["--ray", "gpu1"], {}, 2, "--ray: expected auto or HOST:PORT, got 'gpu1'"),
        (["--ray", "ray://gpu1:10001"], {}, 2, "--ray: expected auto or HOST:PORT, got 'ray://gpu1:10001'"),
        (["--ray", "auto"], {"RAY_ADDRESS": "gpu1"}, 2, "--ray: expected auto or HOST:PORT, got 'gpu1'"),
        (["--ray", "127.0.0.1:{free}"], {}, 5, "ray: nothing answers at 127.0.0.1:{free}"),
    ],
)
def test_address_that_is_no_head_fails_in_one_line(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], code: int, start: str
) -> None:
    """Before Ray is started; it would wait long."""
    pytest.importorskip("ray")
    port = free_port()
    ended, errors = batch(tmp_path, *(text.format(free=port) for text in arguments), **variables)
    assert ended == code
    assert errors.startswith(f"lipsync: {start.format(free=port)}")
    assert errors.count("\n") == 1


def test_cluster_is_not_joined_without_a_token(tmp_path: Path) -> None:
    """Whoever reaches a cluster without one runs code there: the line says how to start it otherwise."""
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as head:
        code, errors = batch(tmp_path, "--ray", f"127.0.0.1:{head.getsockname()[1]}")
    assert code == 2
    assert errors.startswith("lipsync: --ray: expected the cluster's token in $RAY_AUTH_TOKEN, $RAY_AUTH_TOKEN_PATH or")
    assert "RAY_AUTH_MODE=token" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("is_head", "code", "reason"),
    [(True, 2, "--ray: expected a cluster that asks for a token, got {}, where anyone can run any code"),
     (False, 5, "ray: no head of a cluster answers at {}: UNIMPLEMENTED")],
)  # fmt: skip
def test_cluster_that_asks_for_no_token_is_not_joined(tmp_path: Path, is_head: bool, code: int, reason: str) -> None:
    """Although there is a token for it: an open cluster takes any. Other programs are told from a head."""
    pytest.importorskip("ray")
    answer = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    handlers = {HEAD_CALL.rpartition("/")[2]: answer} if is_head else {}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(HEAD_CALL.split("/")[1], handlers)])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        ended, errors = batch(tmp_path, "--ray", address, RAY_AUTH_TOKEN="token")
    finally:
        server.stop(None).wait()
    assert ended == code
    assert errors.startswith(f"lipsync: {reason.format(address)}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--ray-cpus", "1"], ["--ray-gpus", "0.5"], ["--split-over", "60"]])
def test_shares_of_a_cluster_need_one(tmp_path: Path, arguments: list[str]) -> None:
    """Such an option would be without effect."""
    (tmp_path / "jobs.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="expected no value without a cluster"):
        batch_command(["--batch", str(tmp_path / "jobs.jsonl"), *arguments])


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many", "17"])
def test_share_of_a_gpu_is_checked(tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a number above 0."""
    with pytest.raises(SystemExit):
        batch_command(["--batch", "x", f"--ray-gpus={value}"])
    assert "expected a number above 0, at most 16" in capsys.readouterr().err


def test_pace_tells_speed_and_time_left() -> None:
    """All of the batch, and each machine."""
    now = [100.0]
    pace = Pace(10, lambda: now[0])
    for node in ("one", "two", "one", ""):
        now[0] += 15.0
        pace.count({"status": "done" if node else "failed", "node": node})
    assert (pace.place(), pace.failed) == ("4/10", 1)
    assert pace.words() == "40 %, 4.0 a minute, 0:01:30 left"
    assert pace.by_node() == {
        "one": {"jobs": 2, "jobs_per_minute": 2.0},
        "two": {"jobs": 1, "jobs_per_minute": 1.0},
    }
