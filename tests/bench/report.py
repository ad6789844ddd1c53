"""What was measured, as Markdown."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.floor import STATEMENTS
from tests.bench.measure import Round

SYNCS = 50


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


def table(rounds: Sequence[Round], *, idle: int, count: int) -> str:
    """Return the figures of all rounds: the median, and the spread in brackets."""

    def row(what: str, own: Callable[[Round], float], floor: str = "") -> str:
        return f"| {what} | {floor} | {spread([own(r) for r in rounds])} |"

    def floors(value: Callable[[Round], float]) -> str:
        return spread([value(r) for r in rounds])

    return "\n".join(
        (
            "| | floor | pg-operator |",
            "|---|---|---|",
            row(
                f"one item on an idle operator, p50 of {idle} (s)",
                lambda r: r.idle.p50,
                floors(lambda r: r.idle_floor.p50),
            ),
            row(
                f"one item on an idle operator, p99 of {idle} (s)",
                lambda r: r.idle.p99,
                floors(lambda r: r.idle_floor.p99),
            ),
            row(
                f"{count} items at once, wall (s)",
                lambda r: r.seconds,
                floors(lambda r: r.floor_seconds),
            ),
            row(f"{count} items at once, to the floor", lambda r: r.ratio, "1"),
            row(f"{count} items at once, p50 (s)", lambda r: r.latency.p50),
            row(f"{count} items at once, p99 (s)", lambda r: r.latency.p99),
            row("API writes an item", lambda r: r.cost.api_writes),
            row("Events an item", lambda r: r.cost.events),
            row(
                "written SQL statements an item",
                lambda r: r.cost.statements,
                str(STATEMENTS),
            ),
            row("sessions opened an item", lambda r: r.cost.sessions, "1"),
            row("processor time of the controller an item (ms)", _cpu),
            row(f"resident memory after {count} items (MB)", lambda r: r.cost.rss),
        )
    )


def _cpu(one: Round) -> float:
    return one.cost.cpu_ms


def spread(values: Sequence[float]) -> str:
    """Write the median of values, with the least and the greatest."""
    middle, least, most = (
        _short(value) for value in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least}–{most})"  # noqa: RUF001


def _short(value: float) -> str:
    """Write a number with about three digits."""
    return f"{value:.3f}" if value < 1 else f"{value:.3g}"
