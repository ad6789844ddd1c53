"""One round: the floor and the operator, side by side."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.bench import floor
from tests.bench.client import CALLS_IN_FLIGHT, KINDS, Client, Created
from tests.bench.cost import Cost, counted_cost, counted_floor
from tests.bench.orders import Order, make_orders
from tests.bench.usage import resident_megabytes
from tests.cluster.counts import wait_idle
from tests.cluster.objects import administer
from tests.cluster.unguarded import without_admission
from tests.localcluster.cluster import LocalCluster

GONE_SECONDS = 1800
WARM = ("warm", 8)


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
class Idle:
    """Orders one by one: by plain SQL, and by an idle operator."""

    floor: Latency
    own: Latency


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Orders all at once: the floor's cost and the operator's.

    `seconds` and `floor_seconds` are until all was Ready, or written; `rss` is the
    controller's memory then, in MB.
    """

    floor_seconds: float
    floor_cost: Cost
    seconds: float
    created: Created
    cost: Cost
    rss: float

    @property
    def ratio(self) -> float:
        """How many times longer the operator took than the floor."""
        return self.seconds / self.floor_seconds


@dataclass(frozen=True, slots=True)
class Deletion:
    """The deletion of everything: seconds until all was gone, and the costs.

    The floor drops on 4 connections while one client deletes the same objects and lets
    them go.
    """

    floor_seconds: float
    floor_cost: Cost
    seconds: float
    cost: Cost


@dataclass(slots=True)
class Bench:
    """Measures on a bed, where `namespace` is empty and its DatabaseCluster Ready."""

    bed: LocalCluster
    namespace: str
    _statuses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Do what is only slow the first time, and learn what a status looks like."""
        self.settle()
        self._statuses = asyncio.run(
            self._create_and_look(make_orders(*WARM, logins=2))
        )
        self.delete_all()

    def idle(self, count: int) -> Idle:
        """Measure orders one by one; leave nothing."""
        orders = make_orders("floor-one", count, logins=1)
        self.settle()
        seconds = floor.create_in_sql(self._dsn, orders, connections=1)
        floor.drop(self._dsn, orders)
        self.settle()
        own = asyncio.run(self._one_by_one(make_orders("one", count, logins=1)))
        self.delete_all()
        return Idle(Latency(seconds), Latency(own))

    def at_once(self, count: int, *, logins: int) -> AtOnce:
        """Measure that many orders at once; leave nothing."""
        floor_seconds, floor_cost = self._floor(make_orders("f", count, logins=logins))
        self.settle()
        with counted_cost(self.bed) as cost:
            begun = time.perf_counter()
            orders = make_orders("x", count, logins=logins)
            created = asyncio.run(self.create(orders))
            seconds = time.perf_counter() - begun
        pid = self.bed.controller.pid
        assert pid is not None
        rss = resident_megabytes(pid)
        self.delete_all()
        return AtOnce(floor_seconds, floor_cost, seconds, created, cost, rss)

    def by_kind(self, count: int) -> dict[str, Cost]:
        """Measure that many Databases alone, and then a DatabaseRole in each."""
        orders = make_orders("k", count, logins=1)
        steps = {
            "Database": [replace(order, logins=()) for order in orders],
            "DatabaseRole": [replace(order, has_database=True) for order in orders],
        }
        costs = {}
        for kind, step in steps.items():
            self.settle()
            with counted_cost(self.bed) as costs[kind]:
                asyncio.run(self.create(step))
        self.delete_all()
        return costs

    def delete_at_once(self, count: int, *, logins: int) -> Deletion:
        """Measure the deletion of that many orders; leave nothing."""
        orders = make_orders("f", count, logins=logins)
        with self._nobody_works():
            asyncio.run(self._store(orders))
            with counted_floor(self.bed) as floor_cost:
                floor_seconds = asyncio.run(self._drop(orders))
        asyncio.run(self.create(make_orders("x", count, logins=logins)))
        self.settle()
        with counted_cost(self.bed) as cost:
            begun = time.perf_counter()
            self.delete_all()
            seconds = time.perf_counter() - begun
        return Deletion(floor_seconds, floor_cost, seconds, cost)

    async def create(self, orders: Sequence[Order]) -> Created:
        """Create orders and wait until all are Ready."""
        async with self._client() as client:
            return await client.create(orders, calls=CALLS_IN_FLIGHT)

    def settle(self) -> None:
        """Leave no work of the step before to the next one."""
        wait_idle(self.bed, timeout=600)
        administer(self.bed, "postgres", "CHECKPOINT")

    def delete_all(self) -> None:
        """Delete every object of the namespace, and wait until they are gone."""
        asyncio.run(self._delete_all())

    @property
    def _dsn(self) -> str:
        return self.bed.postgres.admin_dsn

    def _floor(self, orders: Sequence[Order]) -> tuple[float, Cost]:
        with self._nobody_works():
            with counted_floor(self.bed) as cost:
                seconds = asyncio.run(self._store(orders))
            asyncio.run(self._drop(orders))
        return seconds, cost

    @contextmanager
    def _nobody_works(self) -> Iterator[None]:
        """Have neither a controller nor admission in the block."""
        self.settle()
        self.bed.controller.stop()
        try:
            with without_admission(self.bed.kubectl):
                yield
        finally:
            self.bed.controller.start()

    async def _drop(self, orders: Sequence[Order]) -> float:
        async with self._client() as client:
            return await floor.delete(client, self._dsn, orders)

    async def _store(self, orders: Sequence[Order]) -> float:
        async with self._client() as client:
            return await floor.create(client, self._dsn, orders, self._statuses)

    async def _create_and_look(
        self, orders: Sequence[Order]
    ) -> Mapping[str, Mapping[str, Any]]:
        async with self._client() as client:
            await client.create(orders, calls=CALLS_IN_FLIGHT)
            return {kind: await client.a_status(kind) for kind in KINDS}

    async def _one_by_one(self, orders: Sequence[Order]) -> list[float]:
        async with self._client() as client:
            return [
                seconds
                for order in orders
                for seconds in (await client.create([order], calls=1)).orders
            ]

    async def _delete_all(self) -> None:
        async with self._client() as client:
            await client.delete_all()
            async with asyncio.timeout(GONE_SECONDS):
                await client.all_gone()

    def _client(self) -> AbstractAsyncContextManager[Client]:
        kubeconfig = self.bed.kubectl.kubeconfig
        names = {"namespace": self.namespace, "cluster": self.namespace}
        return Client.connect(kubeconfig, **names)
