"""What is stored, as the webhook last saw it: admission itself does no I/O."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from pg_operator.api.errors import Verdict
from pg_operator.api.specs import Kind
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import KubernetesError
from pg_operator.reconcilers.outcome import Object
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.listing import (
    FIRST_RELIST_SECONDS,
    list_again,
    list_everything,
)
from pg_operator.runtime.slim import CachedKind
from pg_operator.runtime.watches import Watches, WatchesEnded
from webhooks.claims import judge_claims

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds.

    Everything is listed anew after `first_relist` and then every `relist`.
    """

    again: float = 2.0
    first_relist: float = FIRST_RELIST_SECONDS
    relist: float = 300.0


DEFAULT_PACE: Final = Pace()


class Index:
    """The objects of our kinds and the Namespaces, fed by watches.

    It is not known, and holds nobody up, until everything was listed, and whenever the
    watches end.
    """

    def __init__(self) -> None:
        self._objects = Cache()
        # Kopf runs handlers in threads.
        self._lock = threading.Lock()
        self._is_known = False

    @property
    def is_known(self) -> bool:
        """Whether what is missing here does not exist."""
        return self._is_known

    def judge(self, kind: Kind, new: Object, *, old: Object | None) -> Verdict:
        """Judge a valid document beside what is stored, as a change of `old` if any."""
        with self._lock:
            if not self._is_known:
                return Verdict()
            return judge_claims(kind, new, old=old, objects=self._objects)

    def take_event(self, kind: CachedKind, event: str | None, obj: Object) -> None:
        """Take in a watch event; no type means that a list had the object."""
        with self._lock:
            if event == "DELETED":
                self._objects.remove(kind, obj)
            else:
                self._objects.put(kind, obj)

    def take_list(
        self, kind: CachedKind, objects: Iterable[Object], *, version: str
    ) -> None:
        """Take in everything there is of a kind."""
        with self._lock:
            self._objects.replace(kind, objects, version=version)

    def _compact(self, kind: CachedKind, obj: Object) -> Object:
        with self._lock:
            return self._objects.compact(kind, obj)

    async def follow(
        self,
        kubernetes: Kubernetes,
        *,
        jitter: Callable[[], float],
        pace: Pace = DEFAULT_PACE,
    ) -> NoReturn:
        """List and watch until cancelled; whatever goes wrong is tried again."""
        while True:
            try:
                await self._list(kubernetes)
                await self._watch(kubernetes, jitter, pace)
            except (KubernetesError, WatchesEnded) as error:
                logger.warning("Cannot tell who owns what: %s", error)
            except Exception:
                # Admission goes on without it, and the controller decides.
                logger.exception("Cannot tell who owns what")
            finally:
                self._is_known = False
            await asyncio.sleep(pace.again * jitter())

    async def _watch(
        self, kubernetes: Kubernetes, jitter: Callable[[], float], pace: Pace
    ) -> None:
        """Watch, and list now and then, until Kopf ends.

        Raises:
            WatchesEnded: it did.
        """
        listing = asyncio.create_task(
            list_again(
                lambda: self._list(kubernetes),
                first=pace.first_relist,
                every=pace.relist,
                jitter=jitter,
            )
        )
        try:
            await Watches(self.take_event).run()
        finally:
            listing.cancel()

    async def _list(self, kubernetes: Kubernetes) -> None:
        await list_everything(kubernetes, self.take_list, keep=self._compact)
        if not self._is_known:
            logger.info("Knows who owns what")
        self._is_known = True
