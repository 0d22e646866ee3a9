"""Sweeps through a real tritonserver: with the real perf_analyzer where it is, and with one that misbehaves."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from perf.__main__ import main
from perf.load.perf_analyzer import find_perf_analyzer
from perf.load.results import Load, Results, load_results
from perf.load.sample_data import SampleMaker
from perf.load.sweep_options import measurable_models
from perf.result_files import JSON_FILE
from tests.perf_fakes import write_analyzer

pytestmark = pytest.mark.server

QUICK = ["--concurrency", "1,2", "--batch", "1", "--interval", "0.1", "--frame-size", "128", "--max-spread", "1000"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A perf_analyzer on PATH whose first lines a test chooses."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    return write_analyzer(tmp_path / "bin")


@pytest.mark.long
def test_every_served_model_takes_its_sample(server: EmbeddedServer, model_repository: Path) -> None:
    """A request made from each model's config is accepted, and none of its inputs is all zeros."""
    maker = SampleMaker(model_repository, frame_size=256)
    models = measurable_models(model_repository, None)
    assert {"faces", "mouth_motion", "landmark_faces"} <= set(models)
    with TritonConnection(server.url) as connection:
        for model in models:
            inputs = maker.inputs(connection, model, 2)
            assert {tensor.name for tensor in maker.contracts[model].inputs} == set(inputs)
            assert any(np.any(array != 0) for array in inputs.values())
            assert all(np.any(array) for name, array in inputs.items() if array.size > 4 and name != "interior_indices")
            batched = bool(maker.contracts[model].max_batch_size)
            connection.infer(InferRequest(model, {name: a[None] for name, a in inputs.items()} if batched else inputs))


@pytest.mark.long
def test_a_sweep_measures_with_the_real_perf_analyzer(
    server: EmbeddedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An ensemble by both transports: figures, and what its steps took on the server."""
    try:
        assert find_perf_analyzer().version
    except ValueError as error:
        pytest.skip(str(error))
    arguments = [*QUICK, "--interval", "0.3", "--url", server.url, "--output", str(tmp_path)]
    assert main(["sweep", "faces", *arguments]) == 0
    results = load_results(tmp_path)
    assert len(results.points) == 4
    for point in results.points.values():
        assert point.status == "ok"
        assert 0 < point.figures["p50_ms"] <= point.figures["p99_ms"]
        assert point.figures["items_per_s"] > 0
        assert {"faces", "detect_faces", "face_detector", "landmark_faces"} <= {step.model for step in point.steps}


@pytest.mark.long
def test_a_rate_is_measured_as_asked(server: EmbeddedServer, tmp_path: Path) -> None:
    """Requests per second, instead of requests at once."""
    try:
        assert find_perf_analyzer().version
    except ValueError as error:
        pytest.skip(str(error))
    arguments = ["sweep", "mouth_shapes", *QUICK[2:], "--rate", "20", "--interval", "0.4", "--transport", "grpc"]
    assert main([*arguments, "--url", server.url, "--output", str(tmp_path)]) == 0
    (point,) = load_results(tmp_path).points.values()
    assert point.load == Load("mouth_shapes", 1, "grpc", "rate", 20)
    assert point.figures["requests_per_s"] == pytest.approx(20, rel=0.5)  # few requests, a busy machine


@pytest.mark.long
def test_an_interrupted_sweep_goes_on_where_it_stopped(
    fake: Path, server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finished points are kept as they are; the same command measures the others."""
    output = tmp_path / "results"
    command = ["sweep", "mouth_shapes", *QUICK, "--url", server.url, "--output", str(output)]
    interrupt = "if '2' in arguments: import os, signal; os.kill(os.getppid(), signal.SIGINT)"
    write_analyzer(fake.parent, interrupt + "; import time; time.sleep(5)")
    assert main(command) == 130
    assert "1 points kept" in capsys.readouterr().err
    kept = load_results(output)
    assert len(kept.points) == 1
    write_analyzer(fake.parent)
    assert main(command) == 0
    finished = load_results(output)
    assert len(finished.points) == 4
    assert {load: finished.points[load] for load in kept.points} == kept.points
    assert "4 points, 1 measured already" in capsys.readouterr().err


@pytest.mark.long
def test_a_crashed_point_is_marked_and_measured_again(fake: Path, server: EmbeddedServer, tmp_path: Path) -> None:
    """One load that crashes stands in the results with the reason, beside the others; the next run tries it again."""
    command = ["sweep", "mouth_shapes", *QUICK, "--url", server.url, "--output", str(tmp_path)]
    write_analyzer(fake.parent, "if '2' in arguments: sys.exit('error: out of everything')")
    assert main(command) == 1
    statuses = {load.value: point for load, point in load_results(tmp_path).points.items() if load.transport == "grpc"}
    assert statuses[1].status == "ok"
    assert statuses[2].status == "crashed"
    assert "out of everything" in statuses[2].note
    write_analyzer(fake.parent)
    assert main(command) == 0


def test_an_unstable_point_is_marked_and_kept(fake: Path, server: EmbeddedServer, tmp_path: Path) -> None:
    """Windows that differ more than the limit keep their figures, with a note."""
    write_analyzer(fake.parent, throughputs=(50, 100, 150))
    arguments = [*QUICK, "--max-spread", "0.2", "--url", server.url, "--output", str(tmp_path)]
    assert main(["sweep", "mouth_shapes", *arguments]) == 0
    for point in load_results(tmp_path).points.values():
        assert point.status == "unstable"
        assert "differ by 100%" in point.note
        assert point.figures["items_per_s"] == 100


@pytest.mark.long
def test_results_of_another_commit_fail_to_be_continued(
    fake: Path, server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points of two conditions never mix; beginning anew keeps the old file."""
    command = ["sweep", "mouth_shapes", *QUICK, "--url", server.url, "--output", str(tmp_path)]
    assert main(command) == 0
    old = load_results(tmp_path)
    Results({**old.conditions, "commit": "another"}, old.points).save(tmp_path)
    assert main(command) == 1
    assert "expected results with commit" in capsys.readouterr().err
    assert main([*command, "--restart"]) == 0
    assert len(list(tmp_path.glob(f"*-{JSON_FILE}"))) == 1


@pytest.mark.long
def test_a_server_that_goes_away_fails_in_one_line_with_its_points_kept(
    fake: Path, model_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's server dies during the second load: the first one's figures are there."""
    from lipsync_core.serving.server import ServerOptions

    models = ("mouth_shapes", "visible_mouths", "largest_face")
    with EmbeddedServer(ServerOptions(model_repository, models)) as doomed:
        stop = f"if '2' in arguments: import os, signal; os.kill({doomed.pids[0]}, signal.SIGKILL); sys.exit(1)"
        write_analyzer(fake.parent, stop)
        assert main(["sweep", "mouth_shapes", *QUICK, "--url", doomed.url, "--output", str(tmp_path)]) == 5
    assert "stopped answering during mouth_shapes" in capsys.readouterr().err.splitlines()[-1]
    assert [point.status for point in load_results(tmp_path).points.values()] == ["ok", "crashed"]


@pytest.mark.long
def test_an_unknown_model_fails_with_those_that_there_are(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The known ones are named."""
    assert main(["sweep", "no_such_model"]) == 1
    assert "model: expected one of detect_faces, " in capsys.readouterr().err


@pytest.mark.long
def test_a_dead_server_fails_in_one_line(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens at --url."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
    assert main(["sweep", "mouth_shapes", "--url", url, "--output", str(tmp_path)]) == 5
    assert f"perf sweep: {url}: expected a running Triton, got no connection" in capsys.readouterr().err


@pytest.mark.long
def test_an_unknown_command_fails_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """The known ones are named, and so is help."""
    assert main(["swep"]) == 2
    assert "perf: expected one of sweep, " in capsys.readouterr().err
    assert main(["--help"]) == 0
