"""Who is looked at how: a key that is queued, whole or from outside only."""

from collections.abc import Callable
from datetime import datetime

from pg_operator.reconcilers.glance import Glances
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.progress import is_current
from pg_operator.runtime.cache import Cache, cluster_of
from pg_operator.runtime.limits import Limits
from pg_operator.runtime.queue import WorkQueue


class Looks:
    """Queues keys, and knows for which of them a look from outside will do.

    It will until the key's next resync, which is a whole one. `now` is the time that
    resyncs go by.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        *,
        cache: Cache,
        limits: Limits,
        now: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._cache = cache
        self._limits = limits
        self._now = now
        self._glances = Glances()
        # When the next resync of those that may be looked at from outside is.
        self._resyncs: dict[Key, float] = {}

    def wake(self, key: Key, /, *, ahead: bool = False, outside: bool = False) -> None:
        """Queue a key. It is looked at whole, or with `outside` from outside only.

        One that waits, runs or is due soon keeps the look that it was to have.
        """
        if not outside:
            self._glances.discard(key)
        elif self._queue.is_resting(key):
            self._add(key)
        self._queue.add(key, ahead=ahead)

    def begin_settled(self) -> None:
        """Look from outside only at what waits: the leader before left nothing to do.

        Not at what is on a DatabaseCluster that was changed since.
        """
        for key in self._queue.keys:
            obj = self._cache.get(key) or {}
            cluster = self._cache.get(Key("DatabaseCluster", "", cluster_of(obj)))
            if cluster is not None and is_current(cluster):
                self._add(key)

    def of(self, key: Key) -> Glances | None:
        """Return what a key that was taken is to be looked at with; None is whole."""
        resync = self._resyncs.pop(key, 0.0)
        is_outside = self._glances.take(key) and self._now().timestamp() < resync
        return self._glances if is_outside else None

    def _add(self, key: Key) -> None:
        now = self._now().timestamp()
        self._resyncs[key] = now + self._limits.until_entered(key, now=now)
        self._glances.add(key)
