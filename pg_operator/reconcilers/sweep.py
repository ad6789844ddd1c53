"""The cheap look at a whole server: who is not what it was a minute ago."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Final, NoReturn

from pg_operator.api.specs import Kind
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.errors import PostgresError
from pg_operator.postgres.observe_digests import Digests, observe_digests
from pg_operator.reconcilers.outcome import (
    Key,
    Object,
    Objects,
    is_deleting,
    key_of,
)
from pg_operator.reconcilers.progress import is_current
from pg_operator.reconcilers.references import SERVER_LOST
from pg_operator.reconcilers.servers import Link, Servers

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 60.0
TEND_SECONDS: Final = 1.0
KINDS: Final[tuple[Kind, ...]] = ("Database", "DatabaseRole")


class Sweeps:
    """Compares what servers say with what they said before, and wakes whom it concerns.

    One query a server on one connection; nothing is written. What came into being since
    the last sweep is taken for our own work; what was changed is looked at, also when
    we changed it ourselves. The rest inside databases is left to the resync.

    `interval` is multiplied with what `jitter` returns, a factor around 1.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        wake: Callable[[Key], None],
        interval: timedelta,
        jitter: Callable[[], float],
    ) -> None:
        self._objects = objects
        self._wake = wake
        self._interval = interval
        self._jitter = jitter
        self._before: dict[str, Digests] = {}
        self._due: dict[str, float] = {}

    def due(self, clusters: Iterable[str], *, now: float) -> list[str]:
        """Return those whose turn it is at that moment, in seconds, and put them off.

        The first sweep comes at once: it is what later ones compare with.
        """
        due = [name for name in clusters if self._due.get(name, now) <= now]
        for name in due:
            self._due[name] = now + self._interval.total_seconds() * self._jitter()
        return due

    async def sweep(self, cluster: str, connections: ServerConnections) -> None:
        """Look at the server of a DatabaseCluster.

        Raises:
            PostgresError: the server does not answer, or refuses.
        """
        async with connections.session() as connection:
            now = await observe_digests(connection)
        before = self._before.get(cluster, now)
        self._before = {name: self._before[name] for name in self._living()}
        self._before[cluster] = now
        for key in changed(self._objects, cluster, before=before, now=now):
            self._wake(key)

    def _living(self) -> list[str]:
        """The DatabaseClusters of before that still exist."""
        return [
            name
            for name in self._before
            if self._objects.get(Key("DatabaseCluster", "", name)) is not None
        ]


async def tend_servers(servers: Servers, sweeps: Sweeps) -> NoReturn:
    """Sweep the servers and close connections that nobody uses, for ever."""
    async with asyncio.TaskGroup() as group:
        while True:
            await asyncio.sleep(TEND_SECONDS)
            await servers.close_idle(older_than=IDLE_SECONDS)
            links, now = servers.links(), time.monotonic()
            for cluster in sweeps.due(links, now=now):
                # Beside the others: a server that hangs holds up none.
                group.create_task(_sweep(servers, sweeps, cluster, links[cluster]))


async def _sweep(servers: Servers, sweeps: Sweeps, cluster: str, link: Link) -> None:
    try:
        await sweeps.sweep(cluster, link.connections)
    except SERVER_LOST:
        # Unless it was replaced meanwhile, which has closed the connections.
        if servers.links().get(cluster) is link:
            servers.lost(cluster)
    except PostgresError as error:
        logger.warning("Cannot sweep the server of %s: %s", cluster, error)
    except Exception:
        logger.exception("Cannot sweep the server of %s", cluster)


def changed(
    objects: Objects, cluster: str, *, before: Digests, now: Digests
) -> Iterator[Key]:
    """Yield the objects that are missing on the server or not as they were."""
    for kind in KINDS:
        for obj in objects.of_cluster(kind, cluster):
            place = kind, _server_name(obj)
            digest = now.get(place)
            if digest is None:
                is_amiss = is_current(obj) and not is_deleting(obj)
            else:
                is_amiss = before.get(place, digest) != digest
            if is_amiss:
                yield key_of(kind, obj)


def _server_name(obj: Object) -> str:
    spec = obj["spec"]
    return str(spec.get("roleName", spec.get("name")))
