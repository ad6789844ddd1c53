"""Who is looked at how: a key that is queued, whole or from outside only."""

from pg_operator.reconcilers.glance import Glances
from pg_operator.reconcilers.outcome import Key
from pg_operator.runtime.queue import WorkQueue


class Looks:
    """Queues keys, and knows for which of them a look from outside will do."""

    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue
        self._glances = Glances()

    def wake(self, key: Key, /, *, ahead: bool = False, outside: bool = False) -> None:
        """Queue a key for a look at all of it, or `outside` for one from there.

        Then it is looked at whole if anything else is to be done of it.
        """
        if not outside:
            self._glances.discard(key)
        elif self._queue.is_resting(key):
            self._glances.add(key)
        self._queue.add(key, ahead=ahead)

    def begin_settled(self) -> None:
        """Let a look from outside do for all that wait: it was settled just before."""
        for key in self._queue.keys:
            self._glances.add(key)

    def of(self, key: Key) -> Glances | None:
        """Return what a key that was taken is to be looked at with; None is whole."""
        return self._glances if self._glances.take(key) else None
