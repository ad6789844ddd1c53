"""One client of the API server: creates items and sees them become Ready."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pg_operator.api.specs import Kind
from pg_operator.kube.client import Kubernetes, core_path, object_path
from pg_operator.kube.transport import JSON
from tests.cluster.items import Item

CALLS_IN_FLIGHT: Final = 8
KINDS: Final[tuple[Kind, ...]] = ("Database", "DatabaseRole")
PATIENCE: Final = 600.0


class Client:
    """Creates items in one namespace, on one DatabaseCluster."""

    def __init__(self, kubernetes: Kubernetes, *, namespace: str, cluster: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._cluster = cluster

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: Path, *, namespace: str, cluster: str
    ) -> AsyncIterator["Client"]:
        """Open a session with the API server for the block."""
        async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
            yield cls(kubernetes, namespace=namespace, cluster=cluster)

    async def create(self, items: Sequence[Item], *, calls: int) -> list[float]:
        """Create items with that many calls in flight, and wait until all are Ready.

        Returns:
            The seconds from the first call for an item until all of it was Ready.

        """
        begun: dict[str, float] = {}
        waiting = list(reversed(items))

        async def create_share() -> None:
            while waiting:
                item = waiting.pop()
                begun[item.name] = time.perf_counter()
                for obj in item.objects(self._cluster):
                    await self._create(obj)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            names = {item.name for item in items}
            watches = [
                group.create_task(self._watch_ready(kind, names, version))
                for kind, version in [(kind, await self._end(kind)) for kind in KINDS]
            ]
            for _ in range(calls):
                group.create_task(create_share())
        ready = [watch.result() for watch in watches]
        return [max(r[name] for r in ready) - begun[name] for name in names]

    async def _create(self, obj: Mapping[str, Any]) -> None:
        kind = obj["kind"]
        path = (
            core_path("secrets", self._namespace)
            if kind == "Secret"
            else object_path(kind, self._namespace)
        )
        await self._kubernetes.request("POST", path, body=obj)

    async def _list(self, kind: Kind) -> tuple[list[dict[str, Any]], str]:
        return await self._kubernetes.list(object_path(kind, self._namespace))

    async def _end(self, kind: Kind) -> str:
        return (await self._list(kind))[1]

    async def _watch_ready(
        self, kind: Kind, names: set[str], version: str
    ) -> dict[str, float]:
        """Return when each object of these names was seen to be Ready."""
        ready: dict[str, float] = {}
        path = object_path(kind, self._namespace)
        query = {"watch": "true", "resourceVersion": version}
        async with self._kubernetes.stream(
            path, query=query, accept=JSON, silence=PATIENCE
        ) as stream:
            while ready.keys() != names:
                obj = json.loads(await stream.readuntil(b"\n"))["object"]
                if _is_ready(obj):
                    ready.setdefault(obj["metadata"]["name"], time.perf_counter())
        return ready


def _is_ready(obj: Mapping[str, Any]) -> bool:
    conditions = obj.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
