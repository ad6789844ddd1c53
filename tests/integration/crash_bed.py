"""A controller that dies after a chosen step: a statement, or a call of the API.

It has everything that the process has but the watches and the election; one key is
worked on at a time, so that its steps come in the same order in every life.
"""

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import pq, sql
from psycopg.abc import PQGen
from psycopg.rows import AsyncRowFactory, TupleRow, tuple_row

from pg_operator.kube.events import Events
from pg_operator.postgres import connection
from pg_operator.postgres.connection import Connection
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reconcile import Reconcilers
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.backlog import Backlog
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.feed import Feed
from pg_operator.runtime.health import Metrics
from pg_operator.runtime.limits import Limits
from pg_operator.runtime.listing import list_everything
from pg_operator.runtime.looks import Looks
from pg_operator.runtime.queue import WorkQueue
from pg_operator.runtime.worker import Worker
from tests.integration.memory_api import MemoryAPI

OPERATOR = "operators"
# What is due later than that, by the queue's clock, is a resync: all is at rest.
REST_SECONDS = 60.0
MOST_TURNS = 100


class ProcessDied(BaseException):
    """The process is no more; nothing that catches this gets anything done."""


@dataclass
class Life:
    """What a process has done, and the step after which it dies."""

    last: int | None = None
    steps: list[str] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    is_over: bool = False

    def check(self) -> None:
        """Let nobody do anything who is dead."""
        if self.is_over:
            raise ProcessDied

    def step(self, what: str) -> None:
        """Take note of a step that is done, and perhaps die of it."""
        self.check()
        self.steps.append(what)
        if len(self.steps) == self.last:
            self.is_over = True
            for each in self.connections:
                _break(each)
            raise ProcessDied


def _break(broken: Connection) -> None:
    """Close a socket as the kernel does for a dead process: without a last word."""
    broken.hang_up()
    broken.pgconn.finish()


def mortal(life: Life) -> type[Connection]:
    """Return a kind of connection whose every exchange is a step of a life.

    Whatever psycopg sends by itself, such as COMMIT, is one, too.
    """

    class MortalConnection(Connection):
        def __init__(
            self,
            pgconn: pq.abc.PGconn,
            row_factory: AsyncRowFactory[TupleRow] = tuple_row,
        ) -> None:
            super().__init__(pgconn, row_factory)
            self._said = ""
            life.connections.append(self)

        async def execute(
            self, query: Any, params: Any = None, **options: Any
        ) -> psycopg.AsyncCursor[TupleRow]:
            text = query.as_string(self) if isinstance(query, sql.Composable) else query
            self._said = " ".join(str(text).split())[:70]
            return await super().execute(query, params, **options)

        async def wait(self, gen: PQGen[Any], *args: Any, **options: Any) -> Any:
            life.check()
            said, self._said = self._said or "BEGIN, COMMIT or a savepoint", ""
            try:
                return await super().wait(gen, *args, **options)
            finally:
                life.step(said)

    return MortalConnection


class Process:
    """One controller from its start to its rest, on a clock that jumps."""

    def __init__(self, api: MemoryAPI) -> None:
        self._api = api
        self._time = 0.0
        self._cache = Cache()
        limits = Limits(self._cache, workers=4, jitter=lambda: 1.0)
        self._backlog = Backlog[Key](
            capacity=1,
            group_of=limits.group_of,
            turn_of=lambda key: key.namespace,
            place_of=limits.place_of,
            limit_of=limits.limit_of,
            jitter=lambda: 1.0,
        )
        self._limits = limits
        self._queue = WorkQueue(self._backlog, clock=lambda: self._time)
        self._looks = Looks(
            self._queue, cache=self._cache, limits=limits, now=self._now
        )
        self._feed = Feed(
            self._cache, wake=self._looks.wake, operator_namespace=OPERATOR
        )

    async def run(self) -> None:
        """List, and work until nothing is left to be done."""
        await list_everything(self._api, self._feed.listing, keep=self._cache.compact)
        reconcilers = await Reconcilers.start(
            objects=self._cache,
            kubernetes=self._api,
            settings=Settings(namespace=OPERATOR, allow_loopback_servers=True),
            wake=self._looks.wake,
            creates_less=self._feed.creates_less,
            may_write=lambda: True,
        )
        worker = Worker(
            cache=self._cache,
            feed=self._feed,
            queue=self._queue,
            limits=self._limits,
            reconcile=lambda key: reconcilers.reconcile(
                key, glances=self._looks.of(key)
            ),
            kubernetes=self._api,
            events=Events(self._api),
            metrics=Metrics(CollectorRegistry()),
            now=self._now,
        )
        try:
            for _ in range(MOST_TURNS):
                key = self._next()
                if key is None:
                    return
                await worker.work(key)
        finally:
            await reconcilers.close()
        pytest.fail(f"no rest after {MOST_TURNS} turns: {self._backlog.queued}")

    def _now(self) -> datetime:
        return datetime.now(UTC)

    def _next(self) -> Key | None:
        """Return what is to be worked on next; what waits need not wait."""
        taken = self._backlog.take()
        moment = self._backlog.next_moment()
        if taken is None and moment is not None:
            if moment > self._time + REST_SECONDS:
                return None
            self._time = moment
            self._backlog.promote(now=self._time)
            taken = self._backlog.take()
        return taken


class Lives:
    """An API server, and the controllers that work by it one after another."""

    def __init__(self) -> None:
        self._life = Life()
        self.api = MemoryAPI(before=self._check, after=self._step)

    async def live(self, *, last: int | None = None) -> Life:
        """Run a controller with a memory of its own until it rests, or dies."""
        self._life = life = Life(last)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection, "Connection", mortal(life))
            with contextlib.suppress(ProcessDied):
                await Process(self.api).run()
        return life

    def _check(self) -> None:
        self._life.check()

    def _step(self, what: str) -> None:
        self._life.step(what)
