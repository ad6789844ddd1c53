"""One client of the API server: creates orders and sees them become Ready."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pg_operator.api.specs import FINALIZER, Kind
from pg_operator.kube.client import Kubernetes, core_path, object_path
from pg_operator.kube.events import Events
from pg_operator.kube.transport import JSON
from tests.bench.orders import Order

CALLS_IN_FLIGHT: Final = 8
KINDS: Final[tuple[Kind, ...]] = ("Database", "DatabaseRole")
PATIENCE: Final = 1800.0
POLL_SECONDS: Final = 0.5

Moments = dict[tuple[str, str], float]
"""When something happened to an object, by its kind and name."""


@dataclass(frozen=True, slots=True)
class Created:
    """How long it took, in seconds.

    `orders` from the first call for an order until all of it was Ready; `objects` from
    an object's own call until it was, by its kind.
    """

    orders: Sequence[float]
    objects: Mapping[str, Sequence[float]]


class Client:
    """Creates orders in one namespace, on one DatabaseCluster."""

    def __init__(self, kubernetes: Kubernetes, *, namespace: str, cluster: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._cluster = cluster
        self._events = Events(kubernetes)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: Path, *, namespace: str, cluster: str
    ) -> AsyncIterator["Client"]:
        """Open a session with the API server for the block."""
        async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
            yield cls(kubernetes, namespace=namespace, cluster=cluster)

    async def create(self, orders: Sequence[Order], *, calls: int) -> Created:
        """Create orders with that many calls in flight; wait until all are Ready."""
        begun: Moments = {}
        made = {order.name: order.objects(self._cluster) for order in orders}
        wanted = {_name(o) for objects in made.values() for o in objects if _is_ours(o)}
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            watches = [
                group.create_task(self._watch_ready(kind, wanted, version))
                for kind, version in [(kind, await self._end(kind)) for kind in KINDS]
            ]
            group.create_task(self._create_all(list(made.values()), calls, begun))
        ready = {name: at for watch in watches for name, at in watch.result().items()}
        return Created(
            orders=[
                max(ready[_name(o)] for o in objects if _is_ours(o))
                - min(begun[_name(o)] for o in objects)
                for objects in made.values()
            ],
            objects={
                kind: [ready[name] - begun[name] for name in wanted if name[0] == kind]
                for kind in KINDS
            },
        )

    async def store(
        self,
        orders: Sequence[Order],
        statuses: Mapping[str, Mapping[str, Any]],
        *,
        calls: int,
    ) -> None:
        """Create orders as admission has them, each with a status and an Event."""
        made = [order.objects(self._cluster) for order in orders]
        for obj in chain.from_iterable(made):
            if _is_ours(obj):
                obj["metadata"]["finalizers"] = [FINALIZER]
        await self._create_all(made, calls, {}, statuses)

    async def delete_all(self, *, release: bool = False) -> None:
        """Delete every object of ours, and every Secret, without waiting for it.

        One by one: all of a kind would take longer than one request may. With `release`
        let each go, and post an Event, as whoever works on it does.
        """
        kinds = [object_path(kind, self._namespace) for kind in KINDS]
        waiting = [
            f"{path}/{obj['metadata']['name']}"
            for path in (core_path("secrets", self._namespace), *reversed(kinds))
            for obj in (await self._kubernetes.list(path))[0]
        ]

        async def delete_share() -> None:
            while waiting:
                answer = await self._kubernetes.request("DELETE", waiting.pop())
                if release and _is_ours(answer):
                    await self._kubernetes.patch_finalizers(answer, [])
                    await self._post(answer, "deleted")

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_IN_FLIGHT):
                group.create_task(delete_share())

    async def all_gone(self) -> None:
        """Wait until no object of ours is left."""
        for kind in KINDS:
            while True:
                if not (await self._list(kind))[0]:
                    break
                await asyncio.sleep(POLL_SECONDS)

    async def a_status(self, kind: Kind) -> Mapping[str, Any]:
        """Return the status of an object of a kind."""
        objects, _ = await self._list(kind)
        status: Mapping[str, Any] = objects[0]["status"]
        return status

    async def _create_all(
        self,
        orders: Sequence[Sequence[Mapping[str, Any]]],
        calls: int,
        begun: Moments,
        statuses: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        waiting = list(reversed(orders))

        async def create_share() -> None:
            while waiting:
                for obj in waiting.pop():
                    begun[_name(obj)] = time.perf_counter()
                    stored = await self._create(obj)
                    if statuses and _is_ours(obj):
                        status = statuses[obj["kind"]]
                        await self._kubernetes.patch_status(stored, status)
                        await self._post(stored, "created")

        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(create_share())

    async def _post(self, obj: Mapping[str, Any], what: str) -> None:
        message = f"{what} '{obj['metadata']['name']}' on the server"
        await self._events.post(obj, "Normal", what.capitalize(), message)

    async def _create(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        kind = obj["kind"]
        path = (
            core_path("secrets", self._namespace)
            if kind == "Secret"
            else object_path(kind, self._namespace)
        )
        return await self._kubernetes.request("POST", path, body=obj)

    async def _list(self, kind: Kind) -> tuple[list[dict[str, Any]], str]:
        return await self._kubernetes.list(object_path(kind, self._namespace))

    async def _end(self, kind: Kind) -> str:
        return (await self._list(kind))[1]

    async def _watch_ready(
        self, kind: Kind, wanted: set[tuple[str, str]], version: str
    ) -> Moments:
        """Return when each of the wanted objects of a kind was seen to be Ready."""
        missing = {name for name in wanted if name[0] == kind}
        ready: Moments = {}
        path = object_path(kind, self._namespace)
        query = {"watch": "true", "resourceVersion": version}
        async with self._kubernetes.stream(
            path, query=query, accept=JSON, silence=PATIENCE
        ) as stream:
            while missing:
                obj = json.loads(await stream.readuntil(b"\n"))["object"]
                if is_ready(obj) and (name := _name(obj)) in missing:
                    missing.discard(name)
                    ready[name] = time.perf_counter()
        return ready


def is_ready(obj: Mapping[str, Any]) -> bool:
    """Tell whether an object's status says that its present spec is Ready."""
    conditions = obj.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_ours(obj: Mapping[str, Any]) -> bool:
    return obj.get("kind") in KINDS


def _name(obj: Mapping[str, Any]) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]
