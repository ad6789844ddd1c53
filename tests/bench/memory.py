"""What the two processes hold of thousands of objects that are Ready."""

import asyncio
from collections.abc import Sequence
from typing import Final

from tests.bench.items import running_bench
from tests.bench.measure import Bench
from tests.bench.orders import make_orders
from tests.bench.usage import peak_megabytes, resident_megabytes
from tests.cluster.counts import wait_idle
from tests.localcluster.postgres import PostgresOptions
from tests.localcluster.progress import Progress

# A database costs the server 8 MB of disk and the operator what a role does.
ROLES: Final = 49
OBJECTS_OF_AN_ORDER: Final = 1 + ROLES
# Nothing is timed here.
POSTGRES: Final = PostgresOptions(settings={"autovacuum": "off"})


def measure(progress: Progress, *, held: Sequence[int]) -> str:
    """Measure on a bed of its own; return a Markdown table in MB."""
    parts = ("controller", "webhook", "controller anew", "webhook anew")
    columns = [name for part in parts for name in (part, "its peak")]
    lines = [f"| objects held | {' | '.join(columns)} |", "|---" * 9 + "|"]
    with running_bench(progress, postgres=POSTGRES) as bench:
        lines.append(_row(bench, 0))
        orders = 0
        for count in held:
            wanted = count // OBJECTS_OF_AN_ORDER
            with progress.step(f"creating up to {count:,} objects"):
                new = make_orders("m", wanted, logins=ROLES)[orders:]
                asyncio.run(bench.create(new))
            orders = wanted
            lines.append(_row(bench, wanted * OBJECTS_OF_AN_ORDER))
            progress.say(lines[-1])
    return "\n".join(lines)


def _row(bench: Bench, count: int) -> str:
    """Measure after what was done, and after starting both processes anew."""
    bench.settle()
    grown = _memory(bench)
    databases = count // OBJECTS_OF_AN_ORDER
    bench.bed.webhook.restart()
    bench.bed.controller.restart()
    everything = {"database": databases, "databaserole": count - databases}
    wait_idle(bench.bed, at_least=everything, timeout=1200)
    cells = [f"{count:,}", *(f"{value:.0f}" for value in (*grown, *_memory(bench)))]
    return f"| {' | '.join(cells)} |"


def _memory(bench: Bench) -> list[float]:
    return [
        of(pid)
        for pid in (bench.bed.controller.pid, bench.bed.webhook.pid)
        if pid is not None
        for of in (resident_megabytes, peak_megabytes)
    ]
