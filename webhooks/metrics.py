"""The webhook's metrics, by controller-runtime's names for them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds; an answer takes a millisecond or two, and the API server waits for five.
LATENCY_BUCKETS: Final = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class WebhookMetrics:
    """Counts and times requests; `webhook` is the path, and never what anybody sent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "controller_runtime_webhook_requests_total",
            "Requests for admission by the HTTP status of the answer",
            ["webhook", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "controller_runtime_webhook_latency_seconds",
            "How long a request for admission took",
            ["webhook"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "controller_runtime_webhook_requests_in_flight",
            "Requests for admission that are being answered",
            ["webhook"],
            registry=registry,
        )
        self._refusals = Counter(
            "pgoperator_webhook_refusals_total",
            "Refused objects by the rules they broke, by their ids in docs/errors.md",
            ["webhook", "rule"],
            registry=registry,
        )
        self._index_known = Gauge(
            "pgoperator_webhook_index_known",
            "Whether it is known who owns what; else nobody is refused for a name",
            registry=registry,
        )
        self._not_after = Gauge(
            "pgoperator_webhook_cert_not_after_timestamp_seconds",
            "When the certificate that is served expires; 0 before there is any",
            registry=registry,
        )

    @contextmanager
    def answering(self, webhook: str) -> Iterator[None]:
        """Take the time of the request inside the block, and count it meanwhile."""
        with (
            self._in_flight.labels(webhook).track_inprogress(),
            self._seconds.labels(webhook).time(),
        ):
            yield

    def answered(self, webhook: str, code: int) -> None:
        """Count a request that was answered."""
        self._requests.labels(webhook, str(code)).inc()

    def refused(self, webhook: str, rules: Iterable[str]) -> None:
        """Count an object that was refused, once for each rule."""
        for rule in set(rules):
            self._refusals.labels(webhook, rule).inc()

    def watch_index(self, is_known: Callable[[], bool]) -> None:
        """Ask `is_known` whenever the metrics are read."""
        self._index_known.set_function(lambda: float(is_known()))

    def watch_expiry(self, not_after: Callable[[], datetime | None]) -> None:
        """Ask `not_after` for the certificate's end whenever the metrics are read."""

        def seconds() -> float:
            expiry = not_after()
            return 0.0 if expiry is None else expiry.timestamp()

        self._not_after.set_function(seconds)
