"""Watches Secrets by their metadata: which ones change, never what is in them.

A full watch would stream every value of the cluster, Helm's releases included.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import aiohttp

from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import Expired, KubernetesError, Unreachable, translate

logger = logging.getLogger(__name__)

_FORM: Final = "application/json;as={};g=meta.k8s.io;v=v1"
LIST_FORM: Final = _FORM.format("PartialObjectMetadataList")
WATCH_FORM: Final = _FORM.format("PartialObjectMetadata")

Name = tuple[str, str]
Version = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds.

    The API server ends a watch after `watch` and sends a bookmark about every minute,
    so that `silence` means a connection that is half open. Pauses double from
    `first_pause` to `longest_pause`.
    """

    watch: int = 300
    silence: float = 130.0
    first_pause: float = 1.0
    longest_pause: float = 5.0


DEFAULT_PACE: Final = Pace()


async def watch_secrets(
    kubernetes: Kubernetes,
    on_change: Callable[[str, str], None],
    on_listed: Callable[[], None],
    *,
    jitter: Callable[[], float],
    namespace: str = "",
    pace: Pace = DEFAULT_PACE,
) -> NoReturn:
    """Tell namespace and name of every Secret that is there, comes, changes or goes.

    Secrets of one namespace, if it is named.

    `on_listed` is called after every complete list; a list tells what became of each
    Secret since it was last seen. Whatever goes wrong is logged and tried again;
    `jitter` returns a factor for the pauses. Cancelling ends it.
    """
    watch = _SecretWatch(
        kubernetes, on_change, pace, path=core_path("secrets", namespace)
    )
    pause = pace.first_pause
    while True:
        told = False
        try:
            if not watch.version:
                await watch.list()
                on_listed()
            async with aclosing(watch.events()) as events:
                async for event in events:
                    told = True
                    watch.take(event)
        except Expired as error:
            logger.info("Listing all Secrets anew: %s", error)
            watch.version = ""
        except KubernetesError as error:
            logger.warning("Cannot watch Secrets: %s", error)
        if told:
            pause = pace.first_pause
        if not (told and watch.version):
            # Even an answer without an error is a reason to wait if it told nothing.
            await asyncio.sleep(pause * jitter())
            pause = min(pause * 2, pace.longest_pause)


class _SecretWatch:
    """The Secrets as last seen, and the version to go on from (empty: list)."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        on_change: Callable[[str, str], None],
        pace: Pace,
        *,
        path: str,
    ) -> None:
        self.version = ""
        self._path = path
        self._kubernetes = kubernetes
        self._on_change = on_change
        self._pace = pace
        self._seen: dict[Name, Version] = {}

    async def list(self) -> None:
        """Read them all and tell which differ from what was seen."""
        items, version = await self._kubernetes.list(self._path, accept=LIST_FORM)
        before = self._seen
        self._seen = {_name(item): _version(item) for item in items}
        self.version = version
        for name in sorted(before.keys() | self._seen.keys()):
            if before.get(name) != self._seen.get(name):
                self._on_change(*name)

    async def events(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events since the version, until the API server ends the watch.

        Raises:
            Expired: the version is too long ago.
            KubernetesError: the watch was refused or broke off.
        """
        query = {
            "watch": "1",
            "resourceVersion": self.version,
            "timeoutSeconds": str(self._pace.watch),
            "allowWatchBookmarks": "true",
        }
        async with self._kubernetes.stream(
            self._path,
            query=query,
            accept=WATCH_FORM,
            silence=self._pace.silence,
        ) as lines:
            while event := await _read_event(lines):
                yield event

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event, and tell of it."""
        obj = event["object"]
        self.version = obj["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return
        name = _name(obj)
        if event["type"] == "DELETED":
            self._seen.pop(name, None)
        else:
            self._seen[name] = _version(obj)
        self._on_change(*name)


async def _read_event(lines: aiohttp.StreamReader) -> Mapping[str, Any] | None:
    """Return the next event, or None at the end.

    Raises:
        KubernetesError: it is an error of the API server's, or cannot be read.
    """
    try:
        line = await lines.readline()
        event: Mapping[str, Any] = json.loads(line) if line else {}
    except ValueError as error:  # half a line, or one beyond all measure
        raise Unreachable("the watch broke off in the middle of an event") from error
    if event.get("type") == "ERROR":
        status = event["object"]
        raise translate(int(status.get("code", 500)), json.dumps(status).encode())
    return event or None


def _name(obj: Mapping[str, Any]) -> Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: Mapping[str, Any]) -> Version:
    """Return what tells an object from what it was, even when it was made anew."""
    return obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
