"""Prometheus metrics: jobs are counted from their records, requests as they are answered."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.web.service import Service

UNKNOWN_ROUTE = "other"


class Metrics:
    """All metrics of one app."""

    def __init__(self, service: Service) -> None:
        """Collect the metrics of this service."""
        self._service = service
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.requests = Counter(
            "lipsync_web_requests", "Requests answered", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "lipsync_web_request_seconds", "Time to the first byte of the response", ["route"], registry=self._registry
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Describe nothing, so that registering does not read the records."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the jobs' records."""
        store = self._service.store
        jobs = GaugeMetricFamily("lipsync_web_jobs", "Jobs kept", labels=["state"])
        for state, count in store.count_by_state().items():
            jobs.add_metric([state], count)
        yield jobs
        ended = CounterMetricFamily("lipsync_web_jobs_ended", "Jobs that ended", labels=["state"])
        frames = CounterMetricFamily("lipsync_web_frames", "Frames of finished jobs")
        seconds = CounterMetricFamily("lipsync_web_job_seconds", "Processing time of finished jobs")
        totals = store.totals()
        for state, (count, _, _) in totals.items():
            ended.add_metric([state], count)
        frames.add_metric([], totals["finished"][1])
        seconds.add_metric([], totals["finished"][2])
        yield from (ended, frames, seconds)
        yield GaugeMetricFamily(
            "lipsync_web_live_streams", "Live streams that are open", value=self._service.live.open_streams
        )
        yield GaugeMetricFamily(
            "lipsync_web_free_bytes", "Disk space for uploads", value=max(self._service.disk.free_bytes(), 0)
        )


class MetricsMiddleware:
    """Counts every request by its route, never by its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an app."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
                self._metrics.requests.labels(scope["method"], route, message["status"]).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted_send)
