"""The controller process: watches feed the cache and the queue, workers empty it."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import KubernetesError
from pg_operator.kube.events import Events
from pg_operator.kube.lease import LeaseLock
from pg_operator.kube.transport import Transport
from pg_operator.kube.watch import watch_secrets
from pg_operator.reconcilers.outcome import Key, Outcome
from pg_operator.reconcilers.reconcile import Reconcilers
from pg_operator.reconcilers.sweep import Sweeps
from pg_operator.runtime.backlog import Backlog
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.election import LEASE_NAME, Elector
from pg_operator.runtime.feed import Feed
from pg_operator.runtime.health import Metrics, serve_health
from pg_operator.runtime.jitter import spread
from pg_operator.runtime.limits import Limits
from pg_operator.runtime.listing import (
    FIRST_RELIST_SECONDS,
    list_again,
    list_everything,
)
from pg_operator.runtime.looks import Looks
from pg_operator.runtime.queue import WorkQueue
from pg_operator.runtime.settings import ControllerSettings
from pg_operator.runtime.watches import Watches
from pg_operator.runtime.worker import Worker

logger = logging.getLogger(__name__)
T = TypeVar("T")

START_AGAIN_SECONDS: Final = 2.0
# What one version left settled another one may see otherwise.
VERSION: Final = version("pg-operator")


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set, in the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run(
    settings: ControllerSettings, stop: asyncio.Event, *, registry: CollectorRegistry
) -> None:
    """Run the controller until `stop` is set, and serve what `registry` collects.

    Raises:
        Exception: the process cannot go on, and is to be started anew.
    """
    async with (
        await Kubernetes.from_environment() as kubernetes,
        await Transport.from_environment() as leases,
    ):
        lock = LeaseLock(
            leases, namespace=settings.reconcilers.namespace, name=LEASE_NAME
        )
        elector = Elector.of_process(lock) if settings.leader_elect else None
        controller = Controller(settings, kubernetes, Metrics(registry), elector)
        async with serve_health(
            address=settings.health_address,
            registry=registry,
            is_alive=controller.is_alive,
            is_ready=controller.is_ready,
        ):
            await controller.run(stop)


class Controller:
    """Wires the parts of the process and sees to their beginning and end."""

    def __init__(
        self,
        settings: ControllerSettings,
        kubernetes: Kubernetes,
        metrics: Metrics,
        elector: Elector | None,
    ) -> None:
        """Lead by `elector`, or for as long as the process lives without one."""
        self._settings = settings
        self._kubernetes = kubernetes
        self._elector = elector
        self._may_write = elector.is_leading if elector else lambda: True
        kubernetes.write_only_while(self._may_write)
        metrics.watch_leading(self.is_leading)
        self._metrics = metrics
        self._cache = Cache()
        self._limits = Limits(self._cache, workers=settings.workers, jitter=spread)
        backlog = Backlog[Key](
            capacity=settings.workers,
            group_of=self._limits.group_of,
            turn_of=lambda key: key.namespace,
            place_of=self._limits.place_of,
            limit_of=self._limits.limit_of,
            jitter=spread,
        )
        metrics.watch_depth(lambda: backlog.queued)
        self._queue = WorkQueue(
            backlog,
            clock=time.monotonic,
            on_add=metrics.added,
            on_retry=metrics.retried,
        )
        self._looks = Looks(
            self._queue,
            cache=self._cache,
            limits=self._limits,
            now=lambda: datetime.now(UTC),
        )
        self._feed = Feed(
            self._cache,
            wake=self._looks.wake,
            operator_namespace=settings.reconcilers.namespace,
        )
        self._watches = Watches(self._feed.event)
        self._secrets_listed = asyncio.Event()
        self._is_watching = False
        self._is_working = False

    def is_alive(self) -> bool:
        """Tell whether nothing has ended that must not; asking proves the loop runs."""
        return self._watches.is_alive or not self._is_watching

    def is_ready(self) -> bool:
        """Tell whether everything was listed and is being watched, leading or not."""
        return self._is_watching

    def is_leading(self) -> bool:
        """Tell whether this process is the one that works."""
        if self._elector is None:
            return self._is_working
        return self._elector.is_leading()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then let what runs finish within the drain time.

        Raises:
            Exception: a watch or another part ended that must not.
        """
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            logger.info("Stopping, letting what runs finish")
            self._queue.close()
            if self._is_working:
                drain = self._settings.drain.total_seconds()
                await asyncio.wait({serving}, timeout=drain)
            serving.cancel()
        await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()

    async def _serve(self) -> None:
        """List, then watch and work until the queue is closed."""
        await _patiently("list everything", self._list_everything)
        try:
            async with asyncio.TaskGroup() as group:
                watching = [
                    group.create_task(self._watches.run()),
                    group.create_task(self._watch_secrets()),
                    group.create_task(
                        list_again(
                            self._list_everything,
                            first=FIRST_RELIST_SECONDS,
                            every=self._settings.relist.total_seconds(),
                            jitter=spread,
                        )
                    ),
                ]
                await self._watches.begun()
                await self._secrets_listed.wait()
                logger.info("Listed and watching")
                self._is_watching = True
                if self._elector is None:
                    await self._lead()
                else:
                    await self._lead_when_elected(self._elector)
                for task in watching:
                    task.cancel()
        finally:
            self._is_watching = False

    async def _lead_when_elected(self, elector: Elector) -> None:
        """Wait for the Lease, lead while it is renewed, and give it up at the end.

        Raises:
            ExceptionGroup: with LeadershipLost, when another process may lead by now.
        """
        if await elector.acquire() == VERSION:
            self._looks.begin_settled()
        settled_by = ""
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(elector.keep())
                await self._lead()
                keeping.cancel()
            if self._queue.is_idle:
                settled_by = VERSION
        finally:
            await elector.release(settled_by=settled_by)

    async def _lead(self) -> None:
        """Work until the queue is closed; what was seen before is in it already."""
        reconcilers = await _patiently("read the keys", self._start_reconcilers)
        worker = Worker(
            cache=self._cache,
            feed=self._feed,
            queue=self._queue,
            limits=self._limits,
            reconcile=partial(self._reconcile, reconcilers),
            kubernetes=self._kubernetes,
            events=Events(self._kubernetes),
            metrics=self._metrics,
            now=lambda: datetime.now(UTC),
        )
        sweeps = Sweeps(
            self._cache,
            wake=self._looks.wake,
            interval=self._settings.sweep_interval,
            jitter=spread,
        )
        try:
            async with asyncio.TaskGroup() as group:
                tending = group.create_task(reconcilers.tend(sweeps))
                await self._work(worker)
                tending.cancel()
        finally:
            self._is_working = False
            await reconcilers.close()

    async def _work(self, worker: Worker) -> None:
        """Run every key until the queue is closed and the last is done."""
        self._is_working = True
        async with asyncio.TaskGroup() as runs:
            while (key := await self._queue.get()) is not None:
                runs.create_task(worker.work(key))

    def _reconcile(self, reconcilers: Reconcilers, key: Key) -> Awaitable[Outcome]:
        """Look at a key that was taken from the queue."""
        return reconcilers.reconcile(key, glances=self._looks.of(key))

    async def _start_reconcilers(self) -> Reconcilers:
        return await Reconcilers.start(
            objects=self._cache,
            kubernetes=self._kubernetes,
            settings=self._settings.reconcilers,
            wake=self._looks.wake,
            creates_less=self._feed.creates_less,
            may_write=self._may_write,
        )

    async def _watch_secrets(self) -> None:
        """Watch Secrets everywhere, or in each namespace that we work in.

        Waiting is for our own Secrets only: a namespace in which we lack the right must
        not keep us from working in the others.
        """
        reconcilers = self._settings.reconcilers
        async with asyncio.TaskGroup() as watches:
            for place in reconcilers.secret_namespaces() or {""}:
                is_ours = place in {"", reconcilers.namespace}
                watching = watch_secrets(
                    self._kubernetes,
                    self._take_secret,
                    self._secrets_listed.set if is_ours else lambda: None,
                    jitter=spread,
                    namespace=place,
                )
                watches.create_task(watching)

    def _take_secret(self, namespace: str, name: str) -> None:
        is_listed = self._secrets_listed.is_set()
        self._feed.secret(namespace, name, is_listed=is_listed)

    async def _list_everything(self) -> None:
        await list_everything(
            self._kubernetes, self._feed.listing, keep=self._cache.compact
        )


async def _patiently(what: str, step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step until the API server lets it succeed."""
    while True:
        try:
            return await step()
        except KubernetesError as error:
            logger.warning("Cannot %s yet: %s", what, error)
            await asyncio.sleep(START_AGAIN_SECONDS)
