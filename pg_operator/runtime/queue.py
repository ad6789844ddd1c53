"""The level-triggered work queue: a backlog that wakes who waits for its next key."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from pg_operator.runtime.backlog import Backlog

K = TypeVar("K", bound=Hashable)


def _ignore(_key: object) -> None:
    pass


class WorkQueue(Generic[K]):
    """A `Backlog` that waits; for one event loop and one consumer.

    `on_add` and `on_retry` are told each key that is newly queued, or put off.
    """

    def __init__(
        self,
        backlog: Backlog[K],
        *,
        clock: Callable[[], float],
        on_add: Callable[[K], None] = _ignore,
        on_retry: Callable[[K], None] = _ignore,
    ) -> None:
        self._backlog = backlog
        self._clock = clock
        self._on_add = on_add
        self._on_retry = on_retry
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def keys(self) -> set[K]:
        """The keys that wait for their turn."""
        return set(self._backlog.queued)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is left to do, before or after a wait for a retry."""
        return self._backlog.is_idle

    def is_resting(self, key: K) -> bool:
        """Tell whether nothing is left to do of a key but an unhurried look in time."""
        return self._backlog.is_resting(key)

    def add(self, key: K, *, ahead: bool = False) -> None:
        """Queue a key now, `ahead` of those of its group that are not."""
        if self._backlog.add(key, ahead=ahead):
            self._on_add(key)
        # One that was queued already may run sooner now.
        self._changed.set()

    def add_after(self, key: K, delay: float, *, unhurried: bool = False) -> None:
        """Queue a key in `delay` seconds at the latest, or to wait for others then."""
        self._backlog.add_after(key, delay, now=self._clock(), unhurried=unhurried)
        self._changed.set()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Queue a key after its backoff, `at_least` that many seconds; return them."""
        delay = self._backlog.retry(key, now=self._clock(), at_least=at_least)
        self._on_retry(key)
        self._changed.set()
        return delay

    def forget(self, key: K) -> None:
        """Begin the next backoff of a key at its shortest."""
        self._backlog.forget(key)

    async def get(self) -> K | None:
        """Wait for the next key to work on; None once the queue is closed."""
        while not self._closed:
            for key in self._backlog.promote(now=self._clock()):
                self._on_add(key)
            taken = self._backlog.take()
            if taken is not None:
                return taken
            self._changed.clear()
            moment = self._backlog.next_moment()
            delay = None if moment is None else max(0.0, moment - self._clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()
        return None

    def done(self, key: K) -> None:
        """End the run of a key that `get` returned."""
        self._backlog.done(key)
        self._changed.set()

    def close(self) -> None:
        """Hand out no more keys; those that run go on."""
        self._closed = True
        self._changed.set()
