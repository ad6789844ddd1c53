"""Whether the process lives and is ready, and its metrics, over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pg_operator.api.specs import PLURALS
from pg_operator.reconcilers.outcome import Key


class Metrics:
    """The controller's metrics, by controller-runtime's names for them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reconciles = Counter(
            "controller_runtime_reconcile_total",
            "Reconciles by what came of them",
            ["controller", "result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconcile took",
            ["controller"],
            registry=registry,
        )
        self._depth = Gauge(
            "workqueue_depth",
            "Keys that wait for their turn",
            ["name"],
            registry=registry,
        )
        self._adds = Counter(
            "workqueue_adds_total", "Keys queued", ["name"], registry=registry
        )
        self._leads = Gauge(
            "leader_election_master_status",
            "Whether this process leads",
            registry=registry,
        )
        self._retries = Counter(
            "workqueue_retries_total",
            "Keys put off after a failure",
            ["name"],
            registry=registry,
        )

    def watch_leading(self, is_leading: Callable[[], bool]) -> None:
        """Ask `is_leading` whenever the metrics are read."""
        self._leads.set_function(lambda: float(is_leading()))

    def added(self, key: Key) -> None:
        """Count a key that was queued."""
        self._adds.labels(_controller(key)).inc()

    def retried(self, key: Key) -> None:
        """Count a key that was put off."""
        self._retries.labels(_controller(key)).inc()

    def reconciled(self, key: Key, result: str) -> None:
        """Count a reconcile and what came of it."""
        self._reconciles.labels(_controller(key), result).inc()

    def timed(self, key: Key) -> AbstractContextManager[object]:
        """Take the time of the reconcile inside the block."""
        return self._seconds.labels(_controller(key)).time()

    def watch_depth(self, queued: Callable[[], tuple[Key, ...]]) -> None:
        """Ask `queued` for the keys that wait whenever the metrics are read."""
        for kind in PLURALS:
            self._depth.labels(kind.lower()).set_function(
                lambda kind=kind: sum(key.kind == kind for key in queued())  # type: ignore[misc]
            )


def _controller(key: Key) -> str:
    return key.kind.lower()


@asynccontextmanager
async def serve_health(
    *,
    address: tuple[str, int],
    registry: CollectorRegistry,
    is_alive: Callable[[], bool],
    is_ready: Callable[[], bool],
) -> AsyncIterator[None]:
    """Serve /livez, /readyz and /metrics inside the block.

    Raises:
        OSError: the address cannot be bound.
    """

    async def livez(_: web.Request) -> web.Response:
        return _verdict(is_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(is_ready())

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        host, port = address
        await web.TCPSite(runner, host or None, port).start()
        yield
    finally:
        await runner.cleanup()


def _verdict(good: bool) -> web.Response:  # noqa: FBT001 (all it takes)
    return web.Response(text="ok", status=200 if good else 503)
