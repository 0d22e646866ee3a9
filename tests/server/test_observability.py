from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, empty_frame, head_frame, write_video

pytestmark = pytest.mark.server
MODELS_OF_A_JOB = {"faces", "face_landmarks", "mouth_motion", "mouth_shapes", "voice_activity"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", [head_frame()] * 10)


@pytest.fixture
def collector() -> Iterator[tuple[str, list]]:
    """An OpenTelemetry collector that keeps the spans it gets."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    spans: list = []

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            spans.extend(span for r in request.resource_spans for s in r.scope_spans for span in s.spans)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", spans
    server.stop(None).wait()


def command_for(lipsync_command: list[str], server: EmbeddedServer, video: Path, output: Path) -> list[str]:
    files = ["--video", str(video), "--audio", str(SPEECH), "--output", str(output)]
    return [*lipsync_command, *files, "--url", server.url, "--if-audio-longer", "cut", "--json"]


def test_logs_are_json_with_one_line_for_each_request(
    lipsync_command: list[str], server: EmbeddedServer, clip: Path, tmp_path: Path
) -> None:
    """Every line on stderr is an object; requests bear the job's id, an id of their own, model and seconds."""
    command = [*command_for(lipsync_command, server, clip, tmp_path / "out.mp4"), "--log-json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    report = json.loads(done.stdout)
    requests = [line for line in lines if line["message"] == "request answered"]
    assert {line["job"] for line in requests} == {report["job_id"]}
    assert len({line["request"] for line in requests}) == len(requests) == report["requests"]
    assert {line["model"] for line in requests} == MODELS_OF_A_JOB
    assert all(line["seconds"] > 0 and line["level"] == "debug" and line["time"] for line in requests)
    assert "lip-syncing" in [line.get("stage") for line in lines]


def test_errors_are_json_too(lipsync_command: list[str], server: EmbeddedServer, tmp_path: Path) -> None:
    """The last line holds the message and the exit code."""
    video = write_video(tmp_path / "empty.mp4", [empty_frame()] * 3)
    command = [*command_for(lipsync_command, server, video, tmp_path / "out.mp4"), "--log-json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, last["exit_code"], last["level"]) == (4, 4, "error")
    assert "no usable face" in last["message"]


def test_traces_reach_a_collector(
    lipsync_command: list[str], server: EmbeddedServer, clip: Path, tmp_path: Path, collector: tuple[str, list]
) -> None:
    """Named by the standard variable, it gets a span for every request, with the ids that the logs bear."""
    endpoint, spans = collector
    command = command_for(lipsync_command, server, clip, tmp_path / "out.mp4")
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    report = json.loads(done.stdout)
    assert len(spans) == report["requests"]
    attributes = [{item.key: item.value.string_value for item in span.attributes} for span in spans]
    assert {item["lipsync.job"] for item in attributes} == {report["job_id"]}
    assert {span.name for span in spans} == MODELS_OF_A_JOB
