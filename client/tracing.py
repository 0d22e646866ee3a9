"""OpenTelemetry spans around requests, if its packages are installed and an exporter is configured.

The standard variables decide: OTEL_EXPORTER_OTLP_ENDPOINT names the collector, OTEL_SERVICE_NAME the service.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE = "lipsync"


@contextmanager
def span(name: str, facts: Mapping[str, object]) -> Iterator[None]:
    """Record the context as a span with these attributes."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, attributes={f"lipsync.{key}": str(value) for key, value in facts.items()}):
        yield


def trace_headers() -> dict[str, str]:
    """Return the W3C headers that make the server's spans children of the current one; none without tracing."""
    if _tracer() is None:
        return {}
    from opentelemetry import propagate  # noqa: PLC0415  (optional)

    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


@cache
def _tracer() -> Any | None:
    """Set up the exporter once; None if none is configured or the packages are not installed."""
    if not os.environ.get(ENDPOINT_VARIABLE):
        return None
    try:
        from opentelemetry import trace  # noqa: PLC0415  (optional)
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        return None
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", SERVICE)})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return trace.get_tracer(SERVICE)
