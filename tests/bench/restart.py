"""A controller that begins anew with everything Ready: how soon it is quiet."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bench.cost import Cost, counted_cost
from tests.bench.failover import ELECTING
from tests.bench.items import repeated, running_bench
from tests.bench.orders import make_orders
from tests.bench.report import line
from tests.bench.usage import peak_megabytes, resident_megabytes
from tests.cluster.counts import wait_idle
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.progress import Progress

ROLES: Final = 2
ENDS: Final[Mapping[str, Callable[[OperatorProcess], None]]] = {
    "SIGTERM": lambda controller: controller.stop(),
    "SIGKILL": lambda controller: controller.kill(),
}


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds since the new process was started, its memory in MB, and the cost."""

    listed: float
    quiet: float
    rss: float
    peak: float
    cost: Cost


def measure(progress: Progress, *, rounds: int, databases: int) -> str:
    """Measure on a bed of its own; return a Markdown table.

    The controller holds an election, as deployed ones do: by its Lease one that ends
    tells the next that all was settled, which one that is killed does not.
    """
    everything = {
        "databasecluster": 1,
        "database": databases,
        "databaserole": ROLES * databases,
    }
    count = sum(everything.values())
    with running_bench(progress) as bench:
        with progress.step(f"creating {count} objects"):
            asyncio.run(bench.create(make_orders("r", databases, logins=ROLES)))
        bench.settle()
        bench.bed.controller.stop()
        bench.bed.controller = bench.bed.add_controller("controller-elected", ELECTING)
        wait_idle(bench.bed, at_least=everything, timeout=600)
        tables = [
            _table(
                count,
                how,
                repeated(
                    progress,
                    rounds,
                    f"restart after {how}",
                    partial(restart, bench.bed, everything, end),
                ),
            )
            for how, end in ENDS.items()
        ]
    return "\n\n".join(tables)


def _table(count: int, how: str, found: Sequence[Restart]) -> str:
    return "\n".join(
        (
            f"| {count:,} objects, restart after {how} | pg-operator |",
            "|---|---|",
            line("until everything is listed (s)", [one.listed for one in found]),
            line("until the last reconcile ended (s)", [one.quiet for one in found]),
            line("API writes, Leases apart", [_writes(one.cost) for one in found]),
            line("written SQL statements", [one.cost.sql for one in found]),
            line("other SQL statements an object", _each(found, count, "reads")),
            line("sessions opened an object", _each(found, count, "sessions")),
            line(
                "processor time of the controller (s)",
                [one.cost.cpu["controller"] for one in found],
            ),
            line(
                "processor time of PostgreSQL (s)",
                [one.cost.cpu["postgres"] for one in found],
            ),
            line("resident memory of the controller (MB)", [o.rss for o in found]),
            line("the most it had (MB)", [one.peak for one in found]),
        )
    )


def restart(
    bed: LocalCluster,
    everything: Mapping[str, int],
    end: Callable[[OperatorProcess], None],
) -> Restart:
    """End the controller, start it, and wait until it has looked at everything."""
    with counted_cost(bed) as cost:
        end(bed.controller)
        begun = time.perf_counter()
        bed.controller.start()
        listed = time.perf_counter() - begun
        wait_idle(bed, at_least=everything, timeout=600)
        quiet = time.perf_counter() - begun
    pid = bed.controller.pid
    assert pid is not None
    return Restart(listed, quiet, resident_megabytes(pid), peak_megabytes(pid), cost)


def _writes(cost: Cost) -> int:
    return sum(n for what, n in cost.writes.items() if "leases" not in what)


def _each(found: Sequence[Restart], count: int, what: str) -> list[float]:
    return [getattr(one.cost, what) / count for one in found]
