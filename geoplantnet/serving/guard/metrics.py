"""Prometheus metrics of one server, over all its worker processes.

Workers share a port, so a scrape reaches any one of them. Series with a label for the process would come and go from scrape
to scrape; so with several workers prometheus_client's multiprocess mode adds up what all of them wrote to a common folder
(PROMETHEUS_MULTIPROC_DIR, which `geoplantnet serve` makes and removes).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from geoplantnet.serving.guard.exchange import Exchange

MEDIA_TYPE = CONTENT_TYPE_LATEST
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client's multiprocess mode is chosen, before it is imported."""
SAMPLE_S = 1.0
"""Seconds between two looks at the watched numbers."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PID = re.compile(r"_(\d+)\.db$")


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        kind = ("kind",)
        self._requests = Counter(
            "geoplantnet_http_requests", "Requests answered, by kind of route and status.", ("kind", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "geoplantnet_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            kind,
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._bytes = Counter("geoplantnet_http_response_bytes", "Bytes of answers' bodies.", kind, registry=self._registry)
        self._refused = Counter(
            "geoplantnet_http_refused", "Requests refused before any work was done, by reason.", ("reason",), registry=self._registry
        )
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self._of_kind: dict[tuple[str, int], Counter] = {}
        self._sizes: dict[str, tuple[Histogram, Counter]] = {}

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show a number of this process, such as bytes of a cache: read once a second, added up over workers."""
        gauge = Gauge(f"geoplantnet_{name}", meaning, registry=self._registry, multiprocess_mode="livesum")
        self._watched.append((gauge, read))

    def sample(self) -> None:
        """Look at the watched numbers."""
        for gauge, read in self._watched:
            gauge.set(read())

    def count(self, exchange: Exchange, seconds: float) -> None:
        """Count one request."""
        which = (exchange.kind, exchange.status)
        requests = self._of_kind.get(which)
        if requests is None:
            requests = self._of_kind[which] = self._requests.labels(exchange.kind, str(exchange.status))
            self._sizes[exchange.kind] = (self._seconds.labels(exchange.kind), self._bytes.labels(exchange.kind))
        duration, size = self._sizes[exchange.kind]
        requests.inc()
        duration.observe(seconds)
        size.inc(exchange.bytes)
        if exchange.reason:
            self._refused.labels(exchange.reason).inc()

    def text(self) -> bytes:
        """The page Prometheus reads."""
        self.sample()
        folder = os.environ.get(FOLDER)
        if not folder:
            return generate_latest(self._registry)
        _forget_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """Take the gauges of workers that have ended out of the sum; what they counted stays."""
    pids = {int(found[1]) for file in folder.glob("gauge_live*.db") if (found := _PID.search(file.name))}
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]
