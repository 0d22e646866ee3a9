"""Renders the chart with Helm: the command where it is installed, else Helm's Go library from the wheel helm-sdkpy.

The library only installs charts, so a small stand-in for a Kubernetes API takes the release that it would store.
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "docker" / "chart"
RELEASE, NAMESPACE = "demo", "video"
KUBERNETES = "1.32"
REGISTRY = "registry.example.org/lips"
LIBRARY = Path("_lib/linux-amd64/libhelm_sdkpy.so")
RELEASE_DATA = re.compile(rb"H4sI[A-Za-z0-9+/]+=*")  # gzip in base64, within the stored release's protobuf
KINDS = {  # what the chart may hold: API group and version -> kinds and their plurals
    "v1": {
        "Secret": "secrets",
        "Service": "services",
        "ConfigMap": "configmaps",
        "PersistentVolumeClaim": "persistentvolumeclaims",
    },
    "apps/v1": {"Deployment": "deployments"},
    "batch/v1": {"Job": "jobs"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "keda.sh/v1alpha1": {"ScaledObject": "scaledobjects"},
    "ray.io/v1": {"RayCluster": "rayclusters", "RayJob": "rayjobs"},
    "serving.kserve.io/v1beta1": {"InferenceService": "inferenceservices"},
    "monitoring.coreos.com/v1": {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"},
}


class ChartRefused(Exception):
    """Helm refused the chart or its values."""


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Render the chart with these values over its own; the registry, which it asks for, is REGISTRY by default.

    Raises:
        ChartRefused: values that the chart's schema or templates do not take.
    """
    values = {"registry": REGISTRY, **values}
    command = shutil.which("helm")
    text = _render_by_command(command, values) if command else _render_by_library(values)
    return [document for document in yaml.safe_load_all(text) if document]


def _render_by_command(command: str, values: dict[str, Any]) -> str:
    arguments = [command, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    result = subprocess.run(arguments, input=json.dumps(values), capture_output=True, text=True, check=False)
    if result.returncode:
        raise ChartRefused(result.stderr)
    return result.stdout


def _render_by_library(values: dict[str, Any]) -> str:
    library = _load_library()
    with _fake_cluster() as (address, releases), tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(json.dumps(_kubeconfig(address)))
        config.flush()
        handle, answer = ctypes.c_ulonglong(), ctypes.c_char_p()
        code = library.helm_sdkpy_config_create(
            NAMESPACE.encode(), config.name.encode(), None, b"{}", ctypes.byref(handle)
        )
        assert code == 0, library.helm_sdkpy_last_error()
        options = {
            "wait": False,
            "timeout_seconds": 20,
            "server_side_apply": "false",
            "disable_openapi_validation": True,
        }
        code = library.helm_sdkpy_install(
            handle,
            RELEASE.encode(),
            str(CHART).encode(),
            json.dumps(values).encode(),
            b"",
            json.dumps(options).encode(),
            ctypes.byref(answer),
        )
        error = library.helm_sdkpy_last_error() if code else b""
        library.helm_sdkpy_config_destroy(handle)
    if not releases:
        raise ChartRefused(error.decode())
    return str(releases[0]["manifest"])


def _load_library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("helm_sdkpy")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / LIBRARY).is_file():
        pytest.skip("no helm command, nor its library: pip install --no-deps --ignore-requires-python helm-sdkpy")
    library = ctypes.CDLL(str(Path(spec.origin).parent / LIBRARY))
    library.helm_sdkpy_last_error.restype = ctypes.c_char_p
    return library


def _kubeconfig(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": address}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }


@contextmanager
def _fake_cluster() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve a Kubernetes API that holds nothing and takes all; gives its address, and the releases stored in it."""
    releases: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = _discover(self.path.partition("?")[0])
            self._answer(
                200 if found else 404,
                found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404},
            )

        def do_POST(self) -> None:
            created = self.rfile.read(int(self.headers["Content-Length"]))
            packed = RELEASE_DATA.search(created)
            if b"helm.sh/release" in created and packed:
                releases.append(json.loads(gzip.decompress(base64.b64decode(packed[0]))))
            self._send(201, self.headers["Content-Type"], created)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            self._send(code, "application/json", json.dumps(body).encode())

        def _send(self, code: int, kind: str, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", releases
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # Helm asks for all API groups at once; a refused connection costs it a second


def _discover(path: str) -> dict[str, Any] | None:
    """Answer the questions about which kinds there are."""
    groups = [version.split("/") for version in KINDS if "/" in version]
    if path == "/version":
        major, minor = KUBERNETES.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{KUBERNETES}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        listed = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in groups]
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": group, "versions": [one], "preferredVersion": one}
                for (group, _), one in zip(groups, listed, strict=True)
            ],
        }
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        verbs = ["create", "delete", "get", "list", "patch", "update"]
        resources = [
            {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": verbs}
            for kind, plural in KINDS[version].items()
        ]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    return None
