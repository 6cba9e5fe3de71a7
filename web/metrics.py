"""What the server does, as Prometheus reads it. No label is made of what a request says.

Several processes of one server add up: each writes its counts into files of a folder that `app.py`
makes for them, and whichever is asked reads all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from flask import Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from utils.collections import Collections
from web.v1.common import make_blueprint

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # as prometheus-client names it; read when it is imported

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)

REQUESTS = Counter(
    "speaker_requests",
    "Requests answered, by route, method and class of the status.",
    ["route", "method", "status"],
    registry=None,
)
DURATIONS = Histogram(
    "speaker_request_seconds",
    "Seconds from a request's first line to its answer.",
    ["route"],
    buckets=SECONDS,
    registry=None,
)
STAGES = Histogram(
    "speaker_stage_seconds",
    "Seconds that each stage of a recording's way took.",
    ["stage"],
    buckets=SECONDS,
    registry=None,
)
DECISIONS = Counter(
    "speaker_decisions",
    "Recordings decided on, by what was done and what came out.",
    ["decision", "outcome"],
    registry=None,
)
OURS = (REQUESTS, DURATIONS, STAGES, DECISIONS)


class _Galleries(Collector):
    """Asked for at each reading: who can be found, and what is skipped."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def collect(self) -> Iterable[Metric]:
        speakers = GaugeMetricFamily(
            "speaker_gallery_speakers", "Speakers who can be found.", labels=["collection"]
        )
        skipped = GaugeMetricFamily(
            "speaker_gallery_files_skipped", "Files that take no part.", labels=["collection"]
        )
        for name in self._collections.names():
            gallery = self._collections[name].gallery
            speakers.add_metric([name], len(gallery))
            skipped.add_metric([name], len(gallery.skipped))
        return [speakers, skipped]


def count_requests(app: Flask, collections: Collections) -> None:
    """Counts every request of an application, and answers `GET /metrics`."""
    registry = CollectorRegistry()
    registry.register(_Galleries(collections))
    if os.environ.get(FOLDER):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        for metric in OURS:
            registry.register(metric)

    routes = make_blueprint("metrics", "What the server does.", None)

    @routes.get(
        "/metrics",
        responses={"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        """Requests, stages, decisions and gallery sizes, as Prometheus reads them."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.before_request
    def _start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def _count(response: Response) -> Response:
        known = request.method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
        count_answer(
            request.url_rule.rule if request.url_rule else "none",
            request.method if known else "other",
            response.status_code,
            time.perf_counter() - g.get("started", time.perf_counter()),
        )
        return response

    app.register_api(routes)  # type: ignore[attr-defined]


def count_answer(route: str, method: str, status: int, seconds: float) -> None:
    """Counts one request that was answered."""
    REQUESTS.labels(route, method, f"{status // 100}xx").inc()
    DURATIONS.labels(route).observe(seconds)
