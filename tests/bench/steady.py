"""Thousands of Ready objects while nothing happens, and while their server is away."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Final

import psycopg

from tests.bench.cost import Cost, counted_cost
from tests.bench.items import NAMESPACE, running_bench
from tests.bench.measure import Bench
from tests.bench.orders import Order, make_orders
from tests.bench.report import line
from tests.cluster.counts import counted_writes, most_sessions, wait_idle
from tests.cluster.objects import documents, login, password_secret
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.postgres import ADMIN
from tests.localcluster.probes import wait_until
from tests.localcluster.progress import Progress

ROLES: Final = 2
CHANGED: Final = 10
# By then everything that looks at the server has found it away.
OUTAGE_SECONDS: Final = 60.0


def measure(progress: Progress, *, objects: int, minutes: float) -> str:
    """Measure on a bed of its own; return two Markdown tables."""
    databases = objects // (1 + ROLES)
    orders = make_orders("s", databases, logins=ROLES)
    count = databases * (1 + ROLES)
    with running_bench(progress) as bench:
        with progress.step(f"creating {count} objects"):
            asyncio.run(bench.create(orders))
        bench.settle()
        with progress.step(f"{minutes:g} minutes of nothing"):
            idle = rest(bench, minutes=minutes)
        with progress.step("an outage"):
            away = outage(bench, orders[:CHANGED])
    return "\n".join(
        [*_idle_table(count, minutes, idle), "", *_outage_table(count, CHANGED, away)]
    )


@dataclass(frozen=True, slots=True)
class Rest:
    """What happened while nothing did; API requests that read are by verb and kind."""

    cost: Cost
    asked: Counter[str]
    most_sessions: int


def rest(bench: Bench, *, minutes: float) -> Rest:
    """Count what the operator does of itself, resyncs included."""
    bed = bench.bed
    mark, log_end = bed.audit_mark(), bed.postgres.log.stat().st_size
    with counted_cost(bed) as cost:
        Event().wait(60 * minutes)
    asked: Counter[str] = Counter()
    user = bed.control_plane.controller.user
    for request in bed.requests_since(mark, user=user):
        if not request.writes:
            asked[f"{request.verb} {request.resource}"] += 1
    most = most_sessions(bed.postgres.log, user=ADMIN, since=log_end)
    return Rest(cost, asked, most)


@dataclass(frozen=True, slots=True)
class Outage:
    """Writes while the server was away and after its return, and seconds.

    `noticed` is from the end of the server until its DatabaseCluster says so;
    `available` and `done` from its return until that is said, and until the changed
    passwords let in. `most_sessions` is how many our login had at a time since.
    """

    away: Counter[str]
    back: Counter[str]
    noticed: float
    available: float
    done: float
    most_sessions: int


def outage(bench: Bench, orders: Sequence[Order]) -> Outage:
    """Take the server away, change a password of each order, and bring it back."""
    bed, kubectl = bench.bed, bench.bed.kubectl_in(NAMESPACE)
    cluster = f"pgcluster/{NAMESPACE}"
    logins = [order.logins[0] for order in orders]
    secrets = [password_secret(one.name, f"{one.password}-new") for one in logins]
    with counted_writes(bed) as away:
        bed.postgres.stop()
        begun = time.perf_counter()
        # It makes the operator look, which of itself would do so within a minute.
        kubectl.apply(documents(*secrets))
        kubectl.wait(cluster, "condition=Available=False", timeout=180)
        noticed = time.perf_counter() - begun
        Event().wait(OUTAGE_SECONDS)
    log_end = bed.postgres.log.stat().st_size
    with counted_writes(bed) as back:
        bed.postgres.start()
        begun = time.perf_counter()
        kubectl.wait(cluster, "condition=Available", timeout=60)
        available = time.perf_counter() - begun
        for one in logins:
            lets_in = partial(_lets_in, bed, one.role_name, f"{one.password}-new")
            assert wait_until(lets_in, timeout=60)
        done = time.perf_counter() - begun
        wait_idle(bed, timeout=600)
    most = most_sessions(bed.postgres.log, user=ADMIN, since=log_end)
    return Outage(away.objects, back.objects, noticed, available, done, most)


def _lets_in(bed: LocalCluster, role: str, password: str) -> bool:
    try:
        login(bed, user=role, password=password, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _idle_table(count: int, minutes: float, idle: Rest) -> list[str]:
    cost = idle.cost
    reads = ", ".join(f"{what}: {n}" for what, n in sorted(idle.asked.items()))
    return [
        f"| {count:,} Ready objects, {minutes:g} minutes | pg-operator |",
        "|---|---|",
        line("API writes", [cost.writes.total()]),
        line("Events", [cost.events]),
        line("written SQL statements", [cost.sql]),
        line("other SQL statements", [cost.reads]),
        line("sessions opened", [cost.sessions]),
        line("sessions at a time, at most", [idle.most_sessions]),
        line("WAL (MiB)", [cost.wal / 2**20]),
        f"| API requests that read | {reads} |",
        *(
            line(f"processor time of {name} a minute (ms)", [1000 * used / minutes])
            for name, used in cost.cpu.items()
        ),
    ]


def _outage_table(count: int, changed: int, away: Outage) -> list[str]:
    def written(writes: Counter[str]) -> str:
        return ", ".join(f"{what}: {n}" for what, n in sorted(writes.items()))

    what = f"{count:,} Ready objects, {changed} of them changed meanwhile"
    return [
        f"| an outage: {what} | pg-operator |",
        "|---|---|",
        f"| API writes while the server was away | {written(away.away)} |",
        f"| API writes after its return | {written(away.back)} |",
        line("until the outage was told (s)", [away.noticed]),
        line("after the return: until that was told (s)", [away.available]),
        line("after the return: until the changed passwords let in (s)", [away.done]),
        line("sessions at a time after the return, at most", [away.most_sessions]),
    ]
