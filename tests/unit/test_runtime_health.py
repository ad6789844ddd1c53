"""What probes and Prometheus are told."""

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from pg_operator.runtime.health import Metrics, serve_health
from tests.localcluster.probes import free_ports
from tests.unit.runtime_bed import cluster_key, database_key


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize("good", [True, False])
async def test_probes_say_what_they_are_told(*, good: bool) -> None:
    port = free_ports(1)[0]
    async with serve_health(
        address=("127.0.0.1", port),
        registry=CollectorRegistry(),
        is_alive=lambda: good,
        is_ready=lambda: not good,
    ):
        assert (await ask(port, "/livez"))[0] == (200 if good else 503)
        assert (await ask(port, "/readyz"))[0] == (503 if good else 200)


async def test_metrics_have_controller_runtimes_names() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.watch_depth(lambda: (database_key("a"), database_key("b"), cluster_key()))
    metrics.added(cluster_key())
    metrics.retried(cluster_key())
    with metrics.timed(cluster_key()):
        metrics.reconciled(cluster_key(), "success")
    port = free_ports(1)[0]
    async with serve_health(
        address=("127.0.0.1", port),
        registry=registry,
        is_alive=lambda: True,
        is_ready=lambda: True,
    ):
        _, text = await ask(port, "/metrics")
    controller = 'controller="databasecluster"'
    for line in (
        f'controller_runtime_reconcile_total{{{controller},result="success"}} 1.0',
        f"controller_runtime_reconcile_time_seconds_count{{{controller}}} 1.0",
        'workqueue_depth{name="database"} 2.0',
        'workqueue_adds_total{name="databasecluster"} 1.0',
        'workqueue_retries_total{name="databasecluster"} 1.0',
    ):
        assert line in text
