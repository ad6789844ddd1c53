"""Bringing a cache to what is stored, now and every few minutes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, NoReturn, Protocol

from pg_operator.api.specs import PLURALS
from pg_operator.kube.client import Kubernetes, core_path, object_path
from pg_operator.kube.errors import KubernetesError, NotFound
from pg_operator.reconcilers.outcome import Object
from pg_operator.runtime.slim import CachedKind

logger = logging.getLogger(__name__)

# What was deleted between our first list and Kopf's, neither of them tells.
FIRST_RELIST_SECONDS: Final = 15.0


class TakeList(Protocol):
    """Takes in everything there is of a kind."""

    def __call__(
        self, kind: CachedKind, objects: Iterable[Object], /, *, version: str
    ) -> object:
        """Take it in; `version` is that of the list."""


Keep = Callable[[CachedKind, Object], Object]


async def list_everything(
    kubernetes: Kubernetes, take: TakeList, *, keep: Keep
) -> None:
    """Tell everything that is stored: DatabaseClusters before what names them.

    Without it "no such DatabaseCluster" might only mean that it was not seen yet.
    `keep` returns what is kept of an object while the rest of its kind is being read.

    Raises:
        KubernetesError: not everything could be listed.
    """
    objects, version = await kubernetes.list(
        core_path("namespaces"), keep=partial(keep, "Namespace")
    )
    take("Namespace", objects, version=version)
    for kind in PLURALS:
        try:
            objects, version = await kubernetes.list(
                object_path(kind, ""), keep=partial(keep, kind)
            )
        except NotFound:
            raise NotFound(f"{kind} is not served; are the CRDs there?") from None
        take(kind, objects, version=version)


async def list_again(
    list_once: Callable[[], Awaitable[None]],
    *,
    first: float,
    every: float,
    jitter: Callable[[], float],
) -> NoReturn:
    """List after `first` seconds and then every so many; watches lose deletions."""
    delay = first
    while True:
        await asyncio.sleep(delay * jitter())
        delay = every
        try:
            await list_once()
        except KubernetesError as error:
            logger.warning("Cannot list everything anew: %s", error)
