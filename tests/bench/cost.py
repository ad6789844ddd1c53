"""What a step cost, counted where it cannot be hidden: by those it was done to."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.bench.usage import difference, processor_seconds
from tests.cluster.counts import counted_statements, counted_writes, wait_idle
from tests.cluster.objects import administer
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.postgres import ADMIN

SESSION: Final = re.compile(rf"connection authorized: user={ADMIN} ".encode())


@dataclass(slots=True)
class Cost:
    """The sums of a step; complete after it.

    `writes` to the API server by the words of `counted_writes`, `events` apart; `sql`
    is the statements of our login that write, `reads` the others; `wal` in bytes; `cpu`
    in seconds, by process.
    """

    seconds: float = 0.0
    writes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    sql: int = 0
    reads: int = 0
    sessions: int = 0
    wal: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def counted_cost(bed: LocalCluster) -> Iterator[Cost]:
    """Count what the operator does in the block, and until it is idle after it."""
    cost = Cost()
    with (
        counted_writes(bed) as writes,
        counted_statements(bed) as statements,
        _counted_server(bed, cost),
    ):
        yield cost
        wait_idle(bed, timeout=600)
    cost.writes, cost.events = writes.objects, writes.events
    cost.sql = statements.written.total()
    cost.reads = statements.calls - cost.sql


@contextmanager
def counted_floor(bed: LocalCluster) -> Iterator[Cost]:
    """Count what processors and the server do in the block, where no operator runs."""
    cost = Cost()
    with _counted_server(bed, cost):
        yield cost


@contextmanager
def _counted_server(bed: LocalCluster, cost: Cost) -> Iterator[None]:
    log_end = bed.postgres.log.stat().st_size
    cpu, wal, begun = processor_seconds(bed), wal_bytes(bed), time.perf_counter()
    yield
    cost.seconds = time.perf_counter() - begun
    cost.cpu = difference(processor_seconds(bed), cpu)
    cost.wal = wal_bytes(bed) - wal
    cost.sessions = sessions_since(bed, log_end)


def wal_bytes(bed: LocalCluster) -> int:
    """Return how much a server has written ahead since it was made."""
    query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    ((count,),) = administer(bed, "postgres", query)
    return int(count)


def sessions_since(bed: LocalCluster, offset: int) -> int:
    """Count the sessions of our login since that byte of the server's log.

    The server needs `log_connections`.
    """
    with bed.postgres.log.open("rb") as log:
        log.seek(offset)
        return len(SESSION.findall(log.read()))
