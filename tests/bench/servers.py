"""Many servers of which one hangs: what the others feel of it.

They are one PostgreSQL under as many DatabaseClusters; that of the one that hangs is
reached over a wire that carries nothing for a while.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.conninfo import make_conninfo

from tests.bench.items import NAMESPACE, repeated, running_bench
from tests.bench.measure import Bench, Latency
from tests.bench.orders import Order, make_orders
from tests.bench.report import line, spread
from tests.cluster.objects import connect_server, documents, password_secret
from tests.localcluster.faults import HOST, Wire, in_thread
from tests.localcluster.progress import Progress

DEAD: Final = "server-dead"
ORDERS: Final = 2  # for each server that answers
WAITING: Final = 10  # for the one that hangs
HANGING_SECONDS: Final = 15.0  # after the others are done


@dataclass(frozen=True, slots=True)
class Compared:
    """Orders of the servers that answer, while all do and while one hangs.

    `returned` is the seconds from its return until all that waited for it is Ready.
    """

    alone: Latency
    beside: Latency
    returned: float


def measure(progress: Progress, *, rounds: int, servers: int) -> str:
    """Measure on a bed of its own; return a Markdown table."""
    with running_bench(progress) as bench:
        dsn, port = bench.bed.postgres.admin_dsn, bench.bed.postgres.port
        with in_thread(lambda: Wire(HOST, port).laid()) as wire:
            living = [f"server-{number}" for number in range(servers - 1)]
            for name in living:
                connect_server(bench.bed.kubectl, name, dsn)
            over = make_conninfo(dsn, port=wire.port, connect_timeout=5)
            connect_server(bench.bed.kubectl, DEAD, over)
            found = repeated(
                progress,
                rounds,
                f"{servers} servers",
                lambda: compare(bench, wire, living),
            )
    rows = [
        f"| {ORDERS} items on each of {servers - 1} servers, {name} (s) "
        f"| {spread([of(one.alone) for one in found])} "
        f"| {spread([of(one.beside) for one in found])} |"
        for name, of in (("p50", _p50), ("p99", _p99))
    ]
    returned = [one.returned for one in found]
    last = f"after its return, until {WAITING} items that waited are Ready (s) |"
    return "\n".join(
        (
            f"| | {servers} servers answer | one of them hangs |",
            "|---|---|---|",
            *rows,
            line(last, returned),
        )
    )


def compare(bench: Bench, wire: Wire, living: Sequence[str]) -> Compared:
    """Order on the servers that answer, twice, and bring back the other; leave none."""
    kept = make_orders("dead", WAITING, logins=1, cluster=DEAD)
    asyncio.run(bench.create(kept))
    bench.settle()
    alone = asyncio.run(bench.create(_orders("a", living)))
    wire.fault = "silent"
    logins = [order.logins[0] for order in kept]
    changed = [password_secret(one.name, f"{one.password}-new") for one in logins]
    kubectl = bench.bed.kubectl_in(NAMESPACE)
    kubectl.apply(documents(*changed))
    beside = asyncio.run(bench.create(_orders("b", living)))
    waiting = make_orders("late", WAITING, logins=1, cluster=DEAD)
    returned = asyncio.run(_return(bench, wire, waiting))
    bench.settle()
    bench.delete_all()
    return Compared(Latency(alone.orders), Latency(beside.orders), returned)


async def _return(bench: Bench, wire: Wire, waiting: Sequence[Order]) -> float:
    """Order on the server that hangs, let it answer, and time that."""
    creating = asyncio.create_task(bench.create(waiting))
    await asyncio.sleep(HANGING_SECONDS)
    wire.fault = "none"
    begun = time.perf_counter()
    await creating
    return time.perf_counter() - begun


def _orders(prefix: str, clusters: Sequence[str]) -> list[Order]:
    return [
        order
        for name in clusters
        for order in make_orders(f"{prefix}-{name}", ORDERS, logins=1, cluster=name)
    ]


def _p50(latency: Latency) -> float:
    return latency.p50


def _p99(latency: Latency) -> float:
    return latency.p99
