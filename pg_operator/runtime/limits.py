"""What a DatabaseCluster's spec says about the pace of work on its server."""

import zlib
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.api.values import LONGEST_RESYNC, SHORTEST_RESYNC, parse_duration
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.runtime.cache import Cache, cluster_of

DEFAULT_RESYNC: Final = str(DatabaseClusterSpec.model_fields["resync_interval"].default)
DEFAULT_CONNECTIONS: Final = int(
    DatabaseClusterSpec.model_fields["max_connections"].default
)
CONNECTIONS_OF_A_KEY: Final = 2
# Of the resync interval: who was looked at less than that before its slot waits for the
# next one.
LEAST_REST: Final = 0.2
# The group of keys that belong to no server: probes, and objects that are gone.
NO_SERVER: Final = ""


class Limits:
    """Looks the limits up, as they are now; what is not valid counts as not written.

    Waits are multiplied with what `jitter` returns, a factor around 1.
    """

    def __init__(
        self, cache: Cache, *, workers: int, jitter: Callable[[], float]
    ) -> None:
        self._cache = cache
        self._workers = workers
        self._jitter = jitter

    def group_of(self, key: Key) -> str:
        """Return the DatabaseCluster whose server the key's work needs.

        A probe is in no such group: it must not queue behind the objects that wait
        for the very server that it probes.
        """
        obj = self._cache.get(key)
        return NO_SERVER if obj is None else cluster_of(obj)

    def place_of(self, key: Key) -> Hashable:
        """Return the database that a key's work enters, or the key where none is known.

        A role enters those of its permissions; the first stands for them.
        """
        obj = self._cache.get(key)
        if obj is None:
            return key
        spec = obj.get("spec", {})
        if key.kind == "Database":
            name = spec.get("name")
        else:
            name = next(
                (p.get("database") for p in spec.get("permissions") or ()), None
            )
        return key if name is None else (cluster_of(obj), str(name))

    def limit_of(self, group: Hashable) -> int:
        """Return how many keys of a group may run at a time.

        A key's work goes to and fro between the DSN's database and another: with a
        connection for each, none is closed to make room and opened again, which costs
        server and operator more than the work itself. Probes leave room for others
        even if every server hangs.
        """
        if group == NO_SERVER:
            return max(1, self._workers // 2)
        limit = self._spec_of(str(group)).get("maxConnections")
        connections = limit if isinstance(limit, int) else DEFAULT_CONNECTIONS
        return max(1, connections // CONNECTIONS_OF_A_KEY)

    def until_resync(self, key: Key, *, now: float) -> float:
        """Return in how many seconds an object that is looked at `now` is so again.

        `now` is the time in seconds, by which slots come whoever leads. Those that work
        in one database come together, so that it is entered once.
        """
        interval = self._resync_interval(key)
        return _until_slot(
            self.place_of(key), now=now, least=LEAST_REST * interval, every=interval
        )

    def until_entered(self, key: Key, *, now: float) -> float:
        """Return in how many seconds one is to be looked at that rests already."""
        interval = self._resync_interval(key)
        return _until_slot(self.place_of(key), now=now, least=0, every=interval)

    def spread(self, wait: timedelta) -> timedelta:
        """Keep what waits for the same thing from coming back at the same moment."""
        return wait * self._jitter()

    def _resync_interval(self, key: Key) -> float:
        """Return how long an object may rest before it is looked at again."""
        cluster = key.name if key.kind == "DatabaseCluster" else self.group_of(key)
        text = self._spec_of(cluster).get("resyncInterval", DEFAULT_RESYNC)
        try:
            interval = parse_duration(str(text))
        except ValueError:
            interval = parse_duration(DEFAULT_RESYNC)
        return min(max(interval, SHORTEST_RESYNC), LONGEST_RESYNC).total_seconds()

    def _spec_of(self, cluster: str) -> Object:
        obj = self._cache.get(Key("DatabaseCluster", "", cluster)) or {}
        spec: Object = obj.get("spec", {})
        return spec


def _until_slot(place: Hashable, *, now: float, least: float, every: float) -> float:
    """Return in how many seconds a place's slot begins, one `every` so many.

    It is the first one `least` seconds from `now` or later. What is at one place has
    its slots together, whenever it was at work last, and places have theirs at
    different moments.
    """
    phase = zlib.crc32(repr(place).encode()) / 2**32
    return least + (phase * every - now - least) % every
