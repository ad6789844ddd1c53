"""One change that concerns many objects, and the deletion of all of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.bench.cost import Cost, counted_cost
from tests.bench.floor import CONNECTIONS
from tests.bench.items import NAMESPACE, repeated, running_bench
from tests.bench.measure import Bench, Deletion
from tests.bench.orders import make_orders
from tests.bench.report import head, line, row, spread
from tests.bench.usage import PROCESSES
from tests.cluster.counts import reconciles
from tests.cluster.objects import (
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.progress import Progress

ROLES: Final = 2
SHARED: Final = "shared"
PASSWORD: Final = "canary-mass-{}"
POLL_SECONDS: Final = 0.1
DAY_SECONDS: Final = 24 * 3600
# Without a reconcile for so long, a change has had all its effects.
STILL_SECONDS: Final = 5.0
# Of changes, so that none is what was there before.
NUMBERS: Final = count(1)


def measure(progress: Progress, *, rounds: int, databases: int, roles: int) -> str:
    """Measure on a bed of its own; return three Markdown tables."""
    with running_bench(progress) as bench:
        with progress.step(f"creating {roles} roles of one password"):
            create_sharing(bench, roles)
        passwords = repeated(
            progress, rounds, "a password", lambda: change(bench, shared_password)
        )
        floors = [change_passwords(bench, roles) for _ in range(rounds)]
        bench.delete_all()
        objects = (1 + ROLES) * databases
        with progress.step(f"creating {objects} objects"):
            asyncio.run(bench.create(make_orders("m", databases, logins=ROLES)))
            change(bench, _apply_cluster)  # from here on resyncs are rare
        of_cluster = {
            what: repeated(progress, rounds, what, lambda how=how: change(bench, how))  # type: ignore[misc]
            for what, how in CLUSTER_CHANGES.items()
        }
        bench.delete_all()
        deletions = repeated(
            progress,
            rounds,
            "deletion",
            lambda: bench.delete_at_once(databases, logins=ROLES),
        )
    return "\n\n".join(
        "\n".join(table)
        for table in (
            _secret_table(roles, passwords, floors),
            _changes(f"a DatabaseCluster of {objects:,} objects", of_cluster),
            _deletion_table(databases, deletions),
        )
    )


@dataclass(frozen=True, slots=True)
class Change:
    """Seconds until the last reconcile ended, how many there were, by kind, the cost.

    They count from before the change is sent, which `kubectl` does.
    """

    seconds: float
    reconciles: Counter[str]
    cost: Cost


def create_sharing(bench: Bench, roles: int) -> None:
    """Create that many roles that log in with the password in one Secret."""
    kubectl = bench.bed.kubectl_in(NAMESPACE)
    password = {"name": SHARED}
    objects = [password_secret(SHARED, PASSWORD.format("first"))]
    objects += [
        database_role(f"{SHARED}-{number}", NAMESPACE, login=True, password=password)
        for number in range(roles)
    ]
    kubectl.run("create", "--filename=-", input=documents(*objects), timeout=300)
    kubectl.wait("databaseroles", "condition=Ready", "--all", timeout=600)


def change(bench: Bench, what: Callable[[Bench], None]) -> Change:
    """Change something, and see what becomes of it."""
    bench.settle()
    before = reconciles(bench.bed)
    with counted_cost(bench.bed) as cost:
        begun = time.perf_counter()
        what(bench)
        ended = last_reconcile(bench.bed)
    return Change(ended - begun, reconciles(bench.bed) - before, cost)


def last_reconcile(bed: LocalCluster) -> float:
    """Wait until nothing is reconciled any more; return when the last one had ended."""
    seen, moment = reconciles(bed), time.perf_counter()
    while time.perf_counter() - moment < STILL_SECONDS:
        Event().wait(POLL_SECONDS)
        if (found := reconciles(bed)) != seen:
            seen, moment = found, time.perf_counter()
    return moment


def shared_password(bench: Bench) -> None:
    """Give the Secret of many roles another password."""
    secret = password_secret(SHARED, PASSWORD.format(next(NUMBERS)))
    bench.bed.kubectl_in(NAMESPACE).apply(documents(secret))


def change_passwords(bench: Bench, roles: int) -> float:
    """Change them by nothing but psycopg; return the seconds.

    Only for the time: what the operator set is in force no more.
    """
    names = [f"{SHARED}_{number}" for number in range(roles)]

    def do_share(share: list[str]) -> None:
        dsn = bench.bed.postgres.admin_dsn
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            for name in share:
                alter = sql.SQL("ALTER ROLE {} PASSWORD {}")
                password = sql.Literal(PASSWORD.format(name))
                connection.execute(alter.format(sql.Identifier(name), password))

    begun = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as workers:
        list(workers.map(do_share, [names[n::CONNECTIONS] for n in range(CONNECTIONS)]))
    return time.perf_counter() - begun


def _resync_interval(bench: Bench) -> None:
    _apply_cluster(bench, resyncInterval=f"{DAY_SECONDS - next(NUMBERS)}s")


def _allowed_list(bench: Bench) -> None:
    _apply_cluster(bench, allowedMemberships=[f"team{next(NUMBERS)}"])


def _dsn(bench: Bench) -> None:
    dsn = make_conninfo(bench.bed.postgres.admin_dsn, connect_timeout=5 + next(NUMBERS))
    bench.bed.kubectl.apply(documents(dsn_secret(NAMESPACE, dsn)))


def _apply_cluster(bench: Bench, **spec: object) -> None:
    """Apply the DatabaseCluster, with resyncs so rare that few of them are counted."""
    spec = {"resyncInterval": f"{DAY_SECONDS}s", **spec}
    bench.bed.kubectl.apply(documents(database_cluster(NAMESPACE, **spec)))


CLUSTER_CHANGES: Final[Mapping[str, Callable[[Bench], None]]] = {
    "its resyncInterval": _resync_interval,
    "its allowedMemberships": _allowed_list,
    "its DSN Secret": _dsn,
}


def _secret_table(
    roles: int, found: Sequence[Change], floors: Sequence[float]
) -> list[str]:
    name = f"the Secret of {roles:,} passwords"
    floor = line(f"plain ALTER ROLE on {CONNECTIONS} connections, wall (s)", floors)
    return [*_changes(name, {"pg-operator": found}), floor]


def _changes(what: str, found: Mapping[str, Sequence[Change]]) -> list[str]:
    """Write a table with a column for each change."""

    def cells(name: str, of: Callable[[Change], float]) -> str:
        spreads = [spread([of(one) for one in each]) for each in found.values()]
        return f"| {name} | {' | '.join(spreads)} |"

    return [
        f"| a change of {what} | {' | '.join(found)} |",
        f"|---|{len(found) * '---|'}",
        cells("until the last reconcile ended (s)", lambda one: one.seconds),
        cells("reconciles", lambda one: one.reconciles.total()),
        cells("API writes", lambda one: one.cost.writes.total()),
        cells("Events", lambda one: one.cost.events),
        cells("written SQL statements", lambda one: one.cost.sql),
        cells("other SQL statements", lambda one: one.cost.reads),
        cells("sessions opened", lambda one: one.cost.sessions),
        cells(
            "processor time of the controller (s)",
            lambda one: one.cost.cpu["controller"],
        ),
    ]


def _deletion_table(databases: int, found: Sequence[Deletion]) -> list[str]:
    def both(what: str, of: Callable[[Cost], float]) -> str:
        return row(what, [of(o.floor_cost) for o in found], [of(o.cost) for o in found])

    objects = (1 + ROLES) * databases
    return [
        *head(f"deletion of {databases:,} Databases and {objects - databases:,} roles"),
        row(
            "until all are gone, wall (s)",
            [one.floor_seconds for one in found],
            [one.seconds for one in found],
        ),
        row("API writes", [objects], [one.cost.writes.total() for one in found]),
        row("Events", [objects], [one.cost.events for one in found]),
        row("written SQL statements", [objects], [one.cost.sql for one in found]),
        row("other SQL statements", [], [one.cost.reads for one in found]),
        both("sessions opened", lambda cost: cost.sessions),
        both("WAL (MiB)", lambda cost: cost.wal / 2**20),
        *(
            both(f"processor time of {name} (s)", lambda c, n=name: c.cpu.get(n, 0.0))  # type: ignore[misc]
            for name in PROCESSES
        ),
    ]
