"""What the controller did, counted where it cannot hide it: by those it did it to."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.objects import administer
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.postgres import ADMIN
from tests.localcluster.probes import read_page, wait_until

EVENTS = "events"
# Statements that change nothing by themselves; every other one counts as written.
READING = re.compile(
    "(SELECT|WITH|SET|RESET|SHOW|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Writes:
    """Writes to the API server, refused ones too: "patch databases/status" and so on.

    `events` counts those of Events apart.
    """

    objects: Counter[str] = field(default_factory=Counter)
    events: int = 0


@dataclass(slots=True)
class Statements:
    """What the operator's login sent and wrote in SQL, and what that cost.

    `transaction_ids` counts those of the whole server, whoever took them; `wal_bytes`
    are its login's, of reading as well.
    """

    calls: int = 0
    written: Counter[str] = field(default_factory=Counter)
    transaction_ids: int = 0
    wal_bytes: int = 0


def reconciles(bed: LocalCluster) -> Counter[str]:
    """Return how many reconciles have ended since the controller began, by kind."""
    return _totals(_metrics(bed), "controller_runtime_reconcile_total", "controller")


def wait_idle(
    bed: LocalCluster, *, at_least: Mapping[str, int] | None = None, timeout: float = 60
) -> None:
    """Wait until everything that was ever queued has had its turn.

    Args:
        bed: The bed.
        at_least: How many reconciles must have ended by then, by kind in lower case.
        timeout: In seconds.

    """
    wanted = at_least or {}

    def is_idle() -> bool:
        metrics = _metrics(bed)
        queued = _totals(metrics, "workqueue_adds_total", "name")
        ended = _totals(metrics, "controller_runtime_reconcile_total", "controller")
        return queued == ended and all(ended[kind] >= wanted[kind] for kind in wanted)

    assert wait_until(is_idle, timeout=timeout), f"still busy: {_metrics(bed)}"


@contextmanager
def counted_writes(bed: LocalCluster) -> Iterator[Writes]:
    """Count the controller's writes to the API server in the block, and after effects.

    The result is complete after the block.
    """
    wait_idle(bed)
    mark = bed.audit_mark()
    writes = Writes()
    yield writes
    wait_idle(bed)
    user = bed.control_plane.controller.user
    for request in bed.requests_since(mark, user=user):
        if request.writes and request.resource == EVENTS:
            writes.events += 1
        elif request.writes:
            target = f"{request.resource}/{request.subresource}".rstrip("/")
            writes.objects[f"{request.verb} {target}"] += 1


@contextmanager
def counted_statements(bed: LocalCluster) -> Iterator[Statements]:
    """Count in the block what the operator's login wrote; nobody else may write then.

    The result is complete after the block.
    """
    with _autovacuum_off(bed):
        administer(
            bed,
            "postgres",
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
            "SELECT pg_stat_statements_reset()",
        )
        before = _next_transaction_id(bed)
        statements = Statements()
        yield statements
        statements.transaction_ids = _next_transaction_id(bed) - before
    for query, calls, wal_bytes in administer(
        bed,
        "postgres",
        "SELECT query, calls, wal_bytes FROM pg_stat_statements AS s"
        f" JOIN pg_roles AS r ON r.oid = s.userid AND rolname = '{ADMIN}'"
        " WHERE toplevel",
    ):
        statements.calls += calls
        statements.wal_bytes += int(wal_bytes)
        if not READING.match(query):
            statements.written[query] += calls


def most_sessions(log: Path, *, user: str, since: int) -> int:
    """Return how many sessions a login had at a time, by a server's log since a byte.

    Then it had none; the server needs `log_connections` and `log_disconnections`.
    """
    open_, most = 0, 0
    with log.open("rb") as stream:
        stream.seek(since)
        for line in stream:
            if f"connection authorized: user={user} ".encode() in line:
                open_ += 1
                most = max(most, open_)
            elif b"disconnection: " in line and f" user={user} ".encode() in line:
                open_ -= 1
    return most


@contextmanager
def _autovacuum_off(bed: LocalCluster) -> Iterator[None]:
    """Keep autovacuum, which takes transaction ids too, from starting in the block."""

    def is_quiet() -> bool:
        workers = "SELECT FROM pg_stat_activity WHERE backend_type ~ '^autovacuum'"
        return not administer(bed, "postgres", workers)

    reload = "SELECT pg_reload_conf()"
    administer(bed, "postgres", "ALTER SYSTEM SET autovacuum TO off", reload)
    try:
        assert wait_until(is_quiet, timeout=60), "autovacuum does not end"
        yield
    finally:
        administer(bed, "postgres", "ALTER SYSTEM RESET autovacuum", reload)


def _next_transaction_id(bed: LocalCluster) -> int:
    query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    ((number,),) = administer(bed, "postgres", query)
    return int(number)


def _metrics(bed: LocalCluster) -> str:
    return read_page(f"http://{bed.controller.component.address}/metrics")


def _totals(metrics: str, name: str, label: str) -> Counter[str]:
    totals: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == name:
                totals[sample.labels[label]] += int(sample.value)
    return totals
