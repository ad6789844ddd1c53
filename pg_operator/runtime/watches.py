"""The watches: Kopf tells what it sees, and does nothing else."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

import kopf
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity

from pg_operator.api.specs import GROUP, PLURALS, VERSION
from pg_operator.reconcilers.outcome import Object
from pg_operator.runtime.login import WatchLogin
from pg_operator.runtime.memories import NoMemories
from pg_operator.runtime.slim import CachedKind
from pg_operator.runtime.threads import run_in_thread

Task = asyncio.Task[Any]
OnEvent = Callable[[CachedKind, str | None, Object], None]

RESOURCES: Final[Mapping[CachedKind, tuple[str, str, str]]] = {
    "Namespace": ("", "v1", "namespaces"),
    **{kind: (GROUP, VERSION, plural) for kind, plural in PLURALS.items()},
}
END_SECONDS: Final = 5.0
# Longer than the 5 s that Kopf gives the tasks that are left when its own have ended.
LATE_SECONDS: Final = 6.0


class WatchesEnded(Exception):
    """Nothing is watched any more; only a new process helps."""


class Watches:
    """Runs Kopf in a thread with an event loop of its own."""

    def __init__(self, on_event: OnEvent) -> None:
        """Call `on_event` in the loop that runs `run`, in the order of the events."""
        self._on_event = on_event
        self._begun = asyncio.Event()
        self._is_alive = False

    @property
    def is_alive(self) -> bool:
        """Whether Kopf is running."""
        return self._is_alive

    async def begun(self) -> None:
        """Wait until Kopf has found every resource and is about to list it."""
        await self._begun.wait()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            WatchesEnded: Kopf ended; what it said is the cause.
        """
        home = asyncio.get_running_loop()

        def call_home(callback: Callable[..., None], *arguments: object) -> None:
            # At the very end nobody may be home any more, which is all right.
            with suppress(RuntimeError):
                home.call_soon_threadsafe(callback, *arguments)

        async def watch(stop: threading.Event) -> None:
            await _run_kopf(
                lambda *event: call_home(self._on_event, *event),
                on_begun=lambda: call_home(self._begun.set),
                stop=stop,
            )

        self._is_alive = True
        try:
            await run_in_thread("watches", watch, end_seconds=END_SECONDS)
        except Exception as error:
            # With its traceback: Kopf's own report of it is not logged.
            raise WatchesEnded(f"Kopf ended: {error!r}") from error
        finally:
            self._is_alive = False
        raise WatchesEnded("Kopf ended by itself")


async def _run_kopf(
    on_event: OnEvent, *, on_begun: Callable[[], None], stop: threading.Event
) -> None:
    """Run Kopf until `stop` is set or it ends by itself.

    Raises:
        LookupError: the API server does not serve one of the resources.
    """
    insights = Insights()
    ending = asyncio.Event()
    # Older than Kopf, hence not cancelled by it.
    checking = asyncio.create_task(_check_resources(insights, on_begun, stop))
    finishing = asyncio.create_task(_finish(ending, asyncio.all_tasks()))
    try:
        await kopf.operator(
            registry=_registry(on_event, on_end=ending.set),
            settings=_settings(),
            insights=insights,
            stop_flag=stop,
            memories=NoMemories(),
            # Kopf would ask for the user's name, and not every uid has one.
            identity=Identity("pg-operator-controller"),
            standalone=True,
            clusterwide=True,
        )
        if checking.done():
            checking.result()
    finally:
        checking.cancel()
        finishing.cancel()
        # Kopf waits for the flag in a thread, which would outlive it.
        stop.set()


async def _check_resources(
    insights: Insights, on_begun: Callable[[], None], stop: threading.Event
) -> None:
    """Stop Kopf when it did not find a resource, for it never looks again."""
    await insights.ready_resources.wait()
    found = {resource.plural for resource in insights.watched_resources}
    missing = {plural for _, _, plural in RESOURCES.values()} - found
    if missing:
        stop.set()
        names = ", ".join(sorted(missing))
        raise LookupError(f"the API server does not serve {names}")
    on_begun()


async def _finish(ending: asyncio.Event, older: Collection[Task]) -> NoReturn:
    """Cancel what Kopf began, over and over, once that is late in ending.

    Kopf cancels it once and waits for ever, and a watch whose request is not answered
    takes being cancelled for a pause, and begins anew.
    """
    await ending.wait()
    while True:
        await asyncio.sleep(LATE_SECONDS)
        for task in asyncio.all_tasks() - {*older, asyncio.current_task()}:
            task.cancel()


def _registry(
    on_event: OnEvent, *, on_end: Callable[[], None]
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(WatchLogin().log_in)

    @kopf.on.cleanup(registry=registry)
    async def end(**_: object) -> None:
        on_end()

    for kind, resource in RESOURCES.items():
        handler = _handler(kind, on_event)
        kopf.on.event(*resource, id=kind, registry=registry)(handler)
    return registry


def _handler(kind: CachedKind, on_event: OnEvent) -> Callable[..., object]:
    async def tell(event: kopf.RawEvent, **_: object) -> None:
        on_event(kind, event["type"], event["object"])

    return tell


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Watching CRDs needs rights on them; that all resources are there is checked once.
    settings.scanning.disabled = True
    # An idle worker task of Kopf keeps its object's events in memory.
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = 500
    # An int: the API server refuses the text of a float, and Kopf ends of that.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    # Between one that has missed too much and the list that follows.
    settings.watching.reconnect_backoff = 1.0
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _EverySecond()
    settings.process.ultimate_exiting_timeout = None
    return settings


class _EverySecond:
    """Kopf's pauses while the API server is away.

    Kopf cannot be woken from them, so they must be short for objects to be worked on
    soon after it returns; and where they end, Kopf takes some errors for final.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.repeat(1.0)
