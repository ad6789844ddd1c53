"""A controller that begins anew with everything Ready: how soon it is quiet."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench.cost import Cost, counted_cost
from tests.bench.items import repeated, running_bench
from tests.bench.orders import make_orders
from tests.bench.report import line
from tests.bench.usage import peak_megabytes, resident_megabytes
from tests.cluster.counts import wait_idle
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.progress import Progress

ROLES: Final = 2


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds since the new process was started, its memory in MB, and the cost."""

    listed: float
    quiet: float
    rss: float
    peak: float
    cost: Cost


def measure(progress: Progress, *, rounds: int, databases: int) -> str:
    """Measure on a bed of its own; return a Markdown table."""
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
        found = repeated(
            progress, rounds, "restart", lambda: restart(bench.bed, everything)
        )
    return "\n".join(
        (
            f"| restart with {count:,} objects | pg-operator |",
            "|---|---|",
            line("until everything is listed (s)", [one.listed for one in found]),
            line("until the last reconcile ended (s)", [one.quiet for one in found]),
            line("API writes", [one.cost.writes.total() for one in found]),
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


def restart(bed: LocalCluster, everything: Mapping[str, int]) -> Restart:
    """End the controller, start it, and wait until it has looked at everything."""
    with counted_cost(bed) as cost:
        bed.controller.stop()
        begun = time.perf_counter()
        bed.controller.start()
        listed = time.perf_counter() - begun
        wait_idle(bed, at_least=everything, timeout=600)
        quiet = time.perf_counter() - begun
    pid = bed.controller.pid
    assert pid is not None
    return Restart(listed, quiet, resident_megabytes(pid), peak_megabytes(pid), cost)


def _each(found: list[Restart], count: int, what: str) -> list[float]:
    return [getattr(one.cost, what) / count for one in found]
