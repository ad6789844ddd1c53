"""What was measured, as Markdown."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cost import Cost
from tests.bench.measure import AtOnce, Idle, Latency
from tests.bench.usage import PROCESSES

SYNCS = 50
# From here on a whole number has digits enough.
MANY = 1000


def machine() -> str:
    """Describe what the measurements depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line for line in cpuinfo.splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{os.cpu_count()} processors ({model}), {pages / 2**30:.0f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}; a write of 8 kB "
        f"and its fsync take {1000 * sync_seconds():.1f} ms (median); load average "
        f"at the start {os.getloadavg()[0]:.1f}"
    )


def sync_seconds() -> float:
    """Return how long the disk of temporary files takes to keep 8 kB."""
    seconds = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(b"\0" * 8192)
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


Values = Sequence[float]


@dataclass(frozen=True, slots=True)
class Unit:
    """By what a cost is divided, and what the floor writes for one.

    With each write to the API server comes an Event. These are not counted: the floor
    writes them whatever happens.
    """

    name: str
    count: int
    statements: float = 0.0
    api_writes: float = 0.0


def row(what: str, floor: Values, own: Values) -> str:
    """Write a row of what a floor took and what the operator did; empty is nothing."""
    return f"| {what} | {_cell(floor)} | {_cell(own)} |"


def line(what: str, own: Values) -> str:
    """Write a row of what has no floor."""
    return f"| {what} | {_cell(own)} |"


def head(first: str = "") -> list[str]:
    """Write the head of a table of such rows."""
    return [
        f"| {first} | floor | pg-operator |".replace("|  |", "| |"),
        "|---|---|---|",
    ]


def rows_of_idle(rounds: Sequence[Idle], *, count: int) -> list[str]:
    """Write the rows of orders one by one."""
    return [
        row(
            f"one item on an idle operator, {name} of {count} (s)",
            [of(one.floor) for one in rounds],
            [of(one.own) for one in rounds],
        )
        for name, of in (("p50", _p50), ("p99", _p99))
    ]


def rows_of_time(rounds: Sequence[AtOnce], what: str) -> list[str]:
    """Write how long orders at once took, all together and each."""
    orders = [Latency(one.created.orders) for one in rounds]
    return [
        row(
            f"{what}, wall (s)",
            [one.floor_seconds for one in rounds],
            [one.seconds for one in rounds],
        ),
        row(f"{what}, to the floor", [1], [one.ratio for one in rounds]),
        *(
            row(f"{what}, {name} (s)", [], [of(one) for one in orders])
            for name, of in (("p50", _p50), ("p99", _p99))
        ),
        row(f"{what}, resident memory after (MB)", [], [one.rss for one in rounds]),
    ]


def rows_of_cost(
    floors: Sequence[Cost], costs: Sequence[Cost], *, units: Unit
) -> list[str]:
    """Write what one of the units cost on average."""

    def each(of: Callable[[Cost], float], among: Sequence[Cost]) -> list[float]:
        return [of(cost) / units.count for cost in among]

    def both(what: str, of: Callable[[Cost], float]) -> str:
        return row(f"{what} {units.name}", each(of, floors), each(of, costs))

    own_sql = [units.statements] if floors else []
    own_writes = [units.api_writes] if floors else []
    return [
        row(f"API writes {units.name}", own_writes, each(_writes, costs)),
        row(f"Events {units.name}", own_writes, each(lambda cost: cost.events, costs)),
        row(f"written SQL statements {units.name}", own_sql, each(_sql, costs)),
        row(f"other SQL statements {units.name}", [], each(_reads, costs)),
        both("sessions opened", lambda cost: cost.sessions),
        both("WAL (MiB)", lambda cost: cost.wal / 2**20),
        *(both(f"processor time of {name} (ms)", _cpu_of(name)) for name in PROCESSES),
    ]


def _cpu_of(name: str) -> Callable[[Cost], float]:
    return lambda cost: 1000 * cost.cpu.get(name, 0.0)


def _writes(cost: Cost) -> float:
    return cost.writes.total()


def _sql(cost: Cost) -> float:
    return cost.sql


def _reads(cost: Cost) -> float:
    return cost.reads


def _p50(latency: Latency) -> float:
    return latency.p50


def _p99(latency: Latency) -> float:
    return latency.p99


def _cell(values: Values) -> str:
    return spread(values) if values else ""


def spread(values: Sequence[float]) -> str:
    """Write the median of values, with the least and the greatest."""
    middle, least, most = (
        _short(value) for value in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least}–{most})"  # noqa: RUF001


def _short(value: float) -> str:
    """Write a number with about three digits."""
    if value == int(value) or value >= MANY:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.3g}"
