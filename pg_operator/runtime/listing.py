"""Bringing a cache to what is stored, now and every few minutes."""

from collections.abc import Iterable
from typing import Protocol

from pg_operator.api.specs import PLURALS
from pg_operator.kube.client import Kubernetes, core_path, object_path
from pg_operator.kube.errors import NotFound
from pg_operator.reconcilers.outcome import Object
from pg_operator.runtime.cache import CachedKind


class TakeList(Protocol):
    """Takes in everything there is of a kind."""

    def __call__(
        self, kind: CachedKind, objects: Iterable[Object], /, *, version: str
    ) -> object:
        """Take it in; `version` is that of the list."""


async def list_everything(kubernetes: Kubernetes, take: TakeList) -> None:
    """Tell everything that is stored: DatabaseClusters before what names them.

    Without it "no such DatabaseCluster" might only mean that it was not seen yet.

    Raises:
        KubernetesError: not everything could be listed.
    """
    objects, version = await kubernetes.list(core_path("namespaces"))
    take("Namespace", objects, version=version)
    for kind in PLURALS:
        try:
            objects, version = await kubernetes.list(object_path(kind, ""))
        except NotFound:
            raise NotFound(f"{kind} is not served; are the CRDs there?") from None
        take(kind, objects, version=version)
