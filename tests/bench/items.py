"""Orders from apply to Ready, beside their floor, on a durable PostgreSQL."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

from tests.bench.client import KINDS
from tests.bench.cost import Cost
from tests.bench.floor import statements
from tests.bench.measure import Bench, Latency
from tests.bench.orders import make_orders
from tests.bench.report import (
    Unit,
    head,
    row,
    rows_of_cost,
    rows_of_idle,
    rows_of_time,
    spread,
)
from tests.bench.usage import PROCESSES
from tests.cluster.objects import connect_cluster
from tests.localcluster.cluster import BedOptions, running_cluster
from tests.localcluster.postgres import PostgresOptions
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory

NAMESPACE: Final = "bench"
ROLES: Final = 2
# How many objects of a kind are counted by themselves.
ALONE: Final = 50
# Sessions are counted from the log, and autovacuum comes when it likes. Every CREATE
# is a statement of its own, and none may be dropped before it was counted.
SETTINGS: Final = {
    "log_connections": "on",
    "log_disconnections": "on",
    "autovacuum": "off",
    "pg_stat_statements.max": "100000",
}
POSTGRES: Final = PostgresOptions(durable=True, settings=SETTINGS)
T = TypeVar("T")


def measure_items(
    progress: Progress, *, rounds: int, idle: int, counts: Sequence[int]
) -> str:
    """Measure items of a database and a role; return a Markdown table."""
    with running_bench(progress) as bench:
        singly = repeated(progress, rounds, "singly", lambda: bench.idle(idle))
        lines = [*head(), *rows_of_idle(singly, count=idle)]
        for count in counts:
            measured = repeated(
                progress,
                rounds,
                f"{count} items",
                lambda count=count: bench.at_once(count, logins=1),  # type: ignore[misc]
            )
            lines += rows_of_time(measured, f"{count} items at once")
        (order,) = make_orders("one", 1, logins=1)
        lines += rows_of_cost(
            [one.floor_cost for one in measured],
            [one.cost for one in measured],
            units=Unit(
                f"an item of {counts[-1]}",
                counts[-1],
                statements=statements(order),
                api_writes=len(KINDS),
            ),
        )
    return "\n".join(lines)


def measure_objects(progress: Progress, *, rounds: int, databases: int) -> str:
    """Measure Databases with two DatabaseRoles each; return a Markdown table."""
    with running_bench(progress) as bench:
        roles = ROLES * databases
        what = f"{databases:,} Databases and {roles:,} DatabaseRoles"
        measured = repeated(
            progress, rounds, what, lambda: bench.at_once(databases, logins=ROLES)
        )
        (order,) = make_orders("one", 1, logins=ROLES)
        lines = [*head(), *rows_of_time(measured, "all at once")]
        for kind in KINDS:
            latencies = [Latency(one.created.objects[kind]) for one in measured]
            lines += [
                row(f"a {kind}, p50 (s)", [], [one.p50 for one in latencies]),
                row(f"a {kind}, p99 (s)", [], [one.p99 for one in latencies]),
            ]
        lines += rows_of_cost(
            [one.floor_cost for one in measured],
            [one.cost for one in measured],
            units=Unit(
                "an object",
                databases + roles,
                statements=statements(order) / (1 + ROLES),
                api_writes=1,
            ),
        )
        with progress.step(f"{ALONE} of each kind alone"):
            lines += ["", *_kinds(bench.by_kind(ALONE))]
    title = f"{what}, from the first call until the last is Ready:"
    return "\n".join([title, "", *lines])


def _kinds(costs: Mapping[str, Cost]) -> list[str]:
    """Write what an object of each kind costs."""
    rows: dict[str, Callable[[Cost], float]] = {
        "API writes": lambda cost: cost.writes.total(),
        "Events": lambda cost: cost.events,
        "written SQL statements": lambda cost: cost.sql,
        "other SQL statements": lambda cost: cost.reads,
        "sessions opened": lambda cost: cost.sessions,
        "WAL (MiB)": lambda cost: cost.wal / 2**20,
    }
    for name in PROCESSES:
        rows[f"processor time of {name} (ms)"] = partial(_milliseconds, name)
    found = costs.values()
    return [
        f"| one of {ALONE} alone | {' | '.join(costs)} |",
        "|---|---|---|",
        *(
            f"| {what} | {' | '.join(spread([of(c) / ALONE]) for c in found)} |"
            for what, of in rows.items()
        ),
    ]


def _milliseconds(process: str, cost: Cost) -> float:
    return 1000 * cost.cpu.get(process, 0.0)


def repeated(
    progress: Progress, rounds: int, what: str, measure: Callable[[], T]
) -> list[T]:
    """Measure so many times, saying so."""
    measured = []
    for number in range(1, rounds + 1):
        with progress.step(f"{what}, round {number} of {rounds}"):
            measured.append(measure())
    return measured


@contextmanager
def running_bench(
    progress: Progress, *, postgres: PostgresOptions = POSTGRES
) -> Iterator[Bench]:
    """Start a bed with an empty namespace and a DatabaseCluster, warmed up."""
    with (
        run_directory(LOCAL / "bench") as directory,
        running_cluster(
            directory, progress=progress, options=BedOptions(postgres=postgres)
        ) as bed,
    ):
        bed.kubectl.run("create", "namespace", NAMESPACE)
        connect_cluster(bed, bed.kubectl_in(NAMESPACE), NAMESPACE)
        bench = Bench(bed, NAMESPACE)
        with progress.step("warming up"):
            bench.warm_up()
        yield bench
