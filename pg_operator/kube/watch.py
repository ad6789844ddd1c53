"""Watches Secrets by their metadata: which ones change, never what is in them.

A full watch would stream every value of the cluster, Helm's releases included.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from pg_operator.kube.client import METADATA, Kubernetes, core_path
from pg_operator.kube.errors import KubernetesError

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 30.0
EXPIRED: Final = 410

Name = tuple[str, str]


async def watch_secrets(
    kubernetes: Kubernetes,
    on_change: Callable[[str, str], None],
    on_listed: Callable[[], None],
    *,
    jitter: Callable[[], float],
) -> NoReturn:
    """Tell the namespace and name of every Secret that comes, changes or goes.

    After a cut, what happened meanwhile is found by listing again. `on_listed` is
    called once, after the first list; `jitter` returns a factor for pauses.
    """
    watch = _SecretWatch(kubernetes, on_change)
    delay = FIRST_DELAY
    while True:
        try:
            await watch.list()
            on_listed()
            delay = FIRST_DELAY
            await watch.follow()
        except KubernetesError as error:
            logger.warning("Lost the watch of Secrets: %s", error)
            await asyncio.sleep(delay * jitter())
            delay = min(delay * 2, LONGEST_DELAY)


class _SecretWatch:
    """The versions of all Secrets as last seen."""

    def __init__(
        self, kubernetes: Kubernetes, on_change: Callable[[str, str], None]
    ) -> None:
        self._kubernetes = kubernetes
        self._on_change = on_change
        self._seen: dict[Name, str] = {}
        self._version = ""

    async def list(self) -> None:
        """Read them all, and tell what differs from what was seen."""
        answer = await self._kubernetes.request(
            "GET",
            core_path("secrets"),
            accept=METADATA.format("PartialObjectMetadataList"),
        )
        before = self._seen
        self._seen = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"][
                "resourceVersion"
            ]
            for item in answer["items"]
        }
        self._version = answer["metadata"]["resourceVersion"]
        for name in before.keys() | self._seen.keys():
            if before.get(name) != self._seen.get(name):
                self._on_change(*name)

    async def follow(self) -> None:
        """Watch until the API server says that the version is too old to go on."""
        while True:
            async for event in self._kubernetes.watch_metadata(
                core_path("secrets"), version=self._version, seconds=WATCH_SECONDS
            ):
                if event["type"] == "ERROR":
                    if event["object"].get("code") != EXPIRED:
                        logger.warning("The watch of Secrets ended with an error")
                    return
                metadata = event["object"]["metadata"]
                self._version = metadata["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._take(event["type"], metadata["namespace"], metadata["name"])

    def _take(self, event_type: str, namespace: str, name: str) -> None:
        if event_type == "DELETED":
            self._seen.pop((namespace, name), None)
        else:
            self._seen[namespace, name] = self._version
        self._on_change(namespace, name)
