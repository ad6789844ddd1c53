"""From the end of a leader until the next one works, beside a second controller."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Final

from tests.bench.items import repeated, running_bench
from tests.bench.measure import Bench
from tests.bench.orders import make_orders
from tests.bench.report import spread
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.probes import read_page, wait_until
from tests.localcluster.progress import Progress

ELECTING: Final = "--leader-elect"
LEADS: Final = "leader_election_master_status"
RECONCILES: Final = "controller_runtime_reconcile_total{"
ORDERS: Final = 40
# So many of them are begun, and locks are held, when the leader ends.
BUSY_SECONDS: Final = 1.0
TAKE_OVER_SECONDS: Final = 60.0
ENDS: Final[Mapping[str, Callable[[OperatorProcess], None]]] = {
    "SIGTERM": lambda leader: leader.stop(),
    "SIGKILL": lambda leader: leader.kill(),
    # It keeps its sessions, and so its locks, as a machine does that is cut off.
    "frozen": lambda leader: leader.freeze(),
}


@dataclass(frozen=True, slots=True)
class HandOver:
    """Seconds since the leader's end began.

    Until the next one leads, until its first reconcile ended, and until all that the
    old one had begun was Ready.
    """

    leads: float
    works: float
    done: float


def measure(progress: Progress, *, rounds: int) -> str:
    """Measure on a bed of its own; return a Markdown table."""
    lines = [
        "| the leader ends | the next one leads (s) | it reads (s) | all is done (s) |",
        "|---|---|---|---|",
    ]
    with running_bench(progress) as bench:
        bench.bed.controller.stop()
        for how, end in ENDS.items():
            found = repeated(progress, rounds, how, partial(hand_over, bench, end))
            cells = [
                spread([getattr(one, field) for one in found])
                for field in HandOver.__slots__
            ]
            lines.append(f"| {how}, with {ORDERS} items begun | {' | '.join(cells)} |")
    return "\n".join(lines)


def hand_over(bench: Bench, end: Callable[[OperatorProcess], None]) -> HandOver:
    """End a leader in the middle of work, and time the next one; leave nothing."""
    with _pair(bench) as (first, second), ThreadPoolExecutor(2) as beside:
        orders = make_orders("h", ORDERS, logins=1)
        creating = beside.submit(asyncio.run, bench.create(orders))
        Event().wait(BUSY_SECONDS)
        assert not creating.done(), "it was all done before the leader ended"
        begun = time.perf_counter()
        ending = beside.submit(end, first)
        leads = _seconds_until(begun, lambda: "_status 1.0" in _metric(second, LEADS))
        works = _seconds_until(begun, lambda: bool(_metric(second, RECONCILES)))
        ending.result()
        bench.bed.controller = second
        creating.result()
        done = time.perf_counter() - begun
        bench.settle()
        bench.delete_all()
    return HandOver(leads, works, done)


@contextmanager
def _pair(bench: Bench) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Have two controllers in the block: the leader, and the one that waits."""
    first = bench.bed.add_controller("controller-first", ELECTING)
    assert wait_until(
        lambda: "_status 1.0" in _metric(first, LEADS), timeout=TAKE_OVER_SECONDS
    )
    second = bench.bed.add_controller("controller-second", ELECTING)
    bench.bed.controller = first
    try:
        yield first, second
    finally:
        first.thaw()
        first.kill()
        second.stop()


def _seconds_until(begun: float, condition: Callable[[], bool]) -> float:
    assert wait_until(condition, timeout=TAKE_OVER_SECONDS)
    return time.perf_counter() - begun


def _metric(process: OperatorProcess, name: str) -> str:
    """Return the lines of a metric of a controller; none when it does not answer."""
    with suppress(OSError):
        page = read_page(f"http://{process.component.address}/metrics")
        return "\n".join(row for row in page.splitlines() if row.startswith(name))
    return ""
