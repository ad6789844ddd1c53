"""docs/running.md lists every metric, with its labels and the process that has it."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from pg_operator.runtime.health import Metrics
from webhooks.metrics import WebhookMetrics

PAGE = Path(__file__).parents[2] / "docs" / "running.md"
METRIC = re.compile(r"`([a-z_]+)(?:\{([a-z_,]+)\})?`")
Listed = set[tuple[str, tuple[str, ...], str]]


def documented() -> Listed:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("| metric | of |\n|---|---|\n")[2].partition("\n\n")[0]
    found: Listed = set()
    for row in table.splitlines():
        metrics, process = row.strip("|").rsplit("|", 1)
        for name, labels in METRIC.findall(metrics):
            names = tuple(labels.split(",")) if labels else ()
            found.add((name, names, process.strip()))
    return found


def collected(registry: CollectorRegistry, process: str) -> Listed:
    found: Listed = set()
    for metric in registry._collector_to_names:
        assert isinstance(metric, MetricWrapperBase)
        (described,) = metric.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        found.add((name, tuple(metric._labelnames), process))
    return found


def test_documented_metrics_are_those_that_are_collected() -> None:
    controller, webhook = CollectorRegistry(), CollectorRegistry()
    Metrics(controller)
    WebhookMetrics(webhook)
    found = collected(controller, "controller") | collected(webhook, "webhook")
    assert documented() == found
