from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml

from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.ports import free_port
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.conftest import ROOT
from tests.server.toy_models import DOUBLE_CONFIG, DOUBLE_MODEL, write_model

FILES = ROOT / "docker" / "chart" / "files"
METRIC = re.compile(r"\bnv_[a-z_]+")
# Of these tritonserver says nothing without a GPU; the names are from its documentation.
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes"}
WAITING = 4


def used_metrics() -> set[str]:
    dashboard = (FILES / "dashboard.json").read_text()
    return set(METRIC.findall(dashboard + (FILES / "alerts.yaml").read_text()))


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServer:
    repository = tmp_path_factory.mktemp("slow")
    model = DOUBLE_MODEL.replace("return {", "time.sleep(float(values[0]))\n        return {")
    write_model(repository, "double", DOUBLE_CONFIG, model)
    return EmbeddedServer(ServerOptions(repository, ("double",), metrics_port=free_port()))


def read_metrics(server: EmbeddedServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.options.metrics_port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.server
def test_waiting_requests_are_counted_under_the_names_in_use(slow_server: EmbeddedServer) -> None:
    """A real tritonserver has every metric of dashboard and alerts; what runs does not count as waiting."""
    with slow_server as server, TritonConnection(server.url, "grpc") as connection:
        seconds = np.full(1, 0.5, np.float32)
        calls = [
            threading.Thread(target=connection.infer, args=(InferRequest("double", {"values": seconds}),))
            for _ in range(WAITING + 1)
        ]
        for call in calls:
            call.start()
        running = []
        while alive := sum(call.is_alive() for call in calls):
            text = read_metrics(server)
            waiting = sum(map(float, re.findall(r"nv_inference_pending_request_count\{.*\} (.+)", text)))
            running.append(alive - waiting)
    assert (
        statistics.median(running) == 1
    )  # one runs and the others wait; for a moment none has begun, or one has ended
    assert used_metrics() - GPU_METRICS <= set(METRIC.findall(text))


def test_dashboard_is_whole() -> None:
    """Panels have ids and places of their own, and ask the data source that is provisioned."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    (source,) = yaml.safe_load((ROOT / "docker/monitoring/grafana/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24  # Grafana's columns
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {source["uid"]}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$([a-z]+)", " ".join(target["expr"] for panel in panels for target in panel["targets"])))
    assert used == variables


@pytest.mark.parametrize("arguments", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]])
def test_alerts_fire_on_what_they_are_for(arguments: list[str]) -> None:
    """Prometheus' own tool takes the rules, and each fires and stays quiet where it should."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool; Debian has it in the package prometheus")
    folder = FILES if arguments[0] == "check" else Path(__file__).parent
    result = subprocess.run([promtool, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_dashboards_questions_are_promql() -> None:
    """Prometheus' own parser takes every expression of the dashboard."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool; Debian has it in the package prometheus")
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    filled = [
        re.sub(r"\$(server|model)", ".*", target["expr"]).replace("$__rate_interval", "1m")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    rules = {"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": text} for i, text in enumerate(filled)]}]}
    result = subprocess.run(
        [promtool, "check", "rules", "/dev/stdin"],
        input=yaml.safe_dump(rules),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(filled)} rules found" in result.stdout
