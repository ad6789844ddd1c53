"""One round: the floor and the operator, side by side."""

import asyncio
import os
import re
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import floor
from tests.bench.client import CALLS_IN_FLIGHT, Client
from tests.cluster.counts import counted_statements, counted_writes, wait_idle
from tests.cluster.items import Item, delete_items, make_items
from tests.cluster.objects import administer
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.postgres import ADMIN

SESSION = re.compile(rf"connection authorized: user={ADMIN} ".encode())


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of single items, one after the other."""

    seconds: Sequence[float]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        """What 99 of 100 stay below; with fewer items, the longest."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, self._rank)]

    @property
    def _rank(self) -> int:
        return int(len(self.seconds) * 0.99)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the operator spent on an item, on average; `rss` is its process's, in MB."""

    api_writes: float
    events: float
    statements: float
    sessions: float
    cpu_ms: float
    rss: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured; `floor_seconds` and `seconds` are for all at once."""

    idle_floor: Latency
    idle: Latency
    floor_seconds: float
    seconds: float
    latency: Latency
    cost: Cost

    @property
    def ratio(self) -> float:
        """How many times longer the operator took than the floor."""
        return self.seconds / self.floor_seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """Measures on a bed, where `namespace` is empty and its DatabaseCluster Ready."""

    bed: LocalCluster
    namespace: str

    def round(self, *, idle: int, count: int) -> Round:
        """Measure `idle` items one by one and `count` at once; leave nothing."""
        idle_floor = self._floor(make_items("floor-one", idle), connections=1)
        idle_latency = self._idle(make_items("one", idle))
        items = make_items("floor", count)
        self._settle()
        begun = time.perf_counter()
        floor.create(self._dsn, items, connections=floor.CONNECTIONS)
        floor_seconds = time.perf_counter() - begun
        floor.drop(self._dsn, items)
        seconds, latency, cost = self._at_once(make_items("item", count))
        return Round(
            idle_floor=idle_floor,
            idle=idle_latency,
            floor_seconds=floor_seconds,
            seconds=seconds,
            latency=latency,
            cost=cost,
        )

    @property
    def _dsn(self) -> str:
        return self.bed.postgres.admin_dsn

    def _settle(self) -> None:
        """Leave no work of the step before to the next one."""
        wait_idle(self.bed)
        administer(self.bed, "postgres", "CHECKPOINT")

    def _floor(self, items: Sequence[Item], *, connections: int) -> Latency:
        self._settle()
        seconds = floor.create(self._dsn, items, connections=connections)
        floor.drop(self._dsn, items)
        return Latency(seconds)

    def _idle(self, items: Sequence[Item]) -> Latency:
        self._settle()

        async def one_by_one() -> list[float]:
            async with self._client() as client:
                return [
                    one
                    for item in items
                    for one in await client.create([item], calls=1)
                ]

        latency = Latency(asyncio.run(one_by_one()))
        self._delete_all()
        return latency

    def _at_once(self, items: Sequence[Item]) -> tuple[float, Latency, Cost]:
        self._settle()
        pid = self.bed.controller.pid
        assert pid is not None

        async def create() -> list[float]:
            async with self._client() as client:
                return await client.create(items, calls=CALLS_IN_FLIGHT)

        log_end = self.bed.postgres.log.stat().st_size
        with (
            counted_writes(self.bed) as writes,
            counted_statements(self.bed) as statements,
        ):
            cpu, begun = cpu_seconds(pid), time.perf_counter()
            latency = Latency(asyncio.run(create()))
            seconds = time.perf_counter() - begun
            wait_idle(self.bed)
            cpu = cpu_seconds(pid) - cpu
            sessions = self._sessions_since(log_end)
        cost = Cost(
            api_writes=writes.objects.total() / len(items),
            events=writes.events / len(items),
            statements=statements.written.total() / len(items),
            sessions=sessions / len(items),
            cpu_ms=1000 * cpu / len(items),
            rss=resident_megabytes(pid),
        )
        self._delete_all()
        return seconds, latency, cost

    def _client(self) -> AbstractAsyncContextManager[Client]:
        kubeconfig = self.bed.kubectl.kubeconfig
        names = {"namespace": self.namespace, "cluster": self.namespace}
        return Client.connect(kubeconfig, **names)

    def _delete_all(self) -> None:
        kubectl = self.bed.kubectl_in(self.namespace)
        delete_items(kubectl, timeout=600)
        kubectl.run("delete", "secrets", "--all")

    def _sessions_since(self, offset: int) -> int:
        with self.bed.postgres.log.open("rb") as log:
            log.seek(offset)
            return len(SESSION.findall(log.read()))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    # The fields after the program's name, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Return how much memory a process has resident, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
