"""Objects, and an API server in memory that counts its writes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from pg_operator.api.specs import FINALIZER, PLURALS, Kind
from pg_operator.kube.errors import Conflict, NotFound, Unreachable
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome
from pg_operator.runtime.backlog import Backlog
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.feed import Feed
from pg_operator.runtime.health import Metrics
from pg_operator.runtime.limits import Limits
from pg_operator.runtime.looks import Looks
from pg_operator.runtime.queue import WorkQueue
from pg_operator.runtime.worker import Worker

Json = dict[str, Any]
Script = Outcome | Exception | Callable[[], Awaitable[Outcome]]
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def an_object(
    name: str,
    spec: Mapping[str, Any] | None = None,
    *,
    namespace: str = "",
    uid: str = "",
    version: int = 1,
    status: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Json:
    """An object as the API server sends it; `metadata` overrides the usual."""
    scope = {"namespace": namespace} if namespace else {}
    return {
        "metadata": {
            **scope,
            "name": name,
            "uid": uid or f"uid-of-{namespace}-{name}",
            "resourceVersion": str(version),
            "generation": 1,
            "finalizers": [FINALIZER],
            **metadata,
        },
        "spec": dict(spec or {}),
        "status": dict(status or {"observedGeneration": -1}),
    }


def a_cluster(name: str = "main", **more: Any) -> Json:
    return an_object(name, {"connection": {"name": "dsn"}}, **more)


def a_database(name: str, **more: Any) -> Json:
    spec = {
        "name": more.pop("database", name),
        "databaseClusterRef": {"name": more.pop("cluster", "main")},
    }
    if service := more.pop("service", None):
        spec["databaseServiceName"] = service
    spec.update(more.pop("spec", {}))
    return an_object(name, spec, namespace=more.pop("namespace", "shop"), **more)


def a_role(name: str, *databases: str, **more: Any) -> Json:
    spec = {
        "roleName": more.pop("role", name),
        "databaseClusterRef": {"name": more.pop("cluster", "main")},
        "permissions": [{"database": database} for database in databases],
    }
    if secret := more.pop("secret", None):
        spec["password"] = {"name": secret}
    return an_object(name, spec, namespace=more.pop("namespace", "shop"), **more)


def changed(obj: Object, *, status: Any = None, **metadata: Any) -> Json:
    """The next version of an object."""
    version = str(int(obj["metadata"]["resourceVersion"]) + 1)
    new = {"metadata": {**obj["metadata"], "resourceVersion": version, **metadata}}
    if status is not None:
        new["status"] = status
    return {**obj, **new}


def cluster_key(name: str = "main") -> Key:
    return Key("DatabaseCluster", "", name)


def database_key(name: str, namespace: str = "shop") -> Key:
    return Key("Database", namespace, name)


def role_key(name: str, namespace: str = "shop") -> Key:
    return Key("DatabaseRole", namespace, name)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.time


class ApiServer:
    """Objects of our kinds by key, and every write that was made to them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.writes: list[tuple[str, Key]] = []
        self.conflicts = 0
        self.between: list[Json] = []
        self.is_away = False

    async def read(self, key: Key) -> Json | None:
        """Return what is stored."""
        return self.objects.get(key)

    async def patch_status(self, obj: Object, status: Json) -> Json:
        """Merge into the status, to one level."""
        if self.is_away:
            raise Unreachable("no answer")
        key = self._key_of(obj)
        self.writes.append(("status", key))
        return self._store(key, status={**self.objects[key]["status"], **status})

    async def patch_finalizers(
        self, obj: Object, finalizers: Sequence[str]
    ) -> Json | None:
        """Replace the finalizers; what `between` holds gets in first."""
        try:
            key = self._key_of(obj)
        except NotFound:
            return None
        if self.between:
            self.objects[key] = self.between.pop()
        stored = self.objects[key]["metadata"]
        as_read = ("finalizers", "deletionTimestamp")
        if any(obj["metadata"].get(name) != stored.get(name) for name in as_read):
            self.conflicts += 1
            raise Conflict("changed")
        self.writes.append(("finalizers", key))
        answer = self._store(key, finalizers=list(finalizers))
        if "deletionTimestamp" in answer["metadata"] and not finalizers:
            del self.objects[key]
        return answer

    def _store(self, key: Key, **change: Any) -> Json:
        self.objects[key] = changed(self.objects[key], **change)
        return self.objects[key]

    def _key_of(self, obj: Object) -> Key:
        metadata = obj["metadata"]
        for key, stored in self.objects.items():
            if stored["metadata"]["uid"] == metadata["uid"]:
                return key
        raise NotFound("not there")


class Events:
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.posted: list[Event] = []

    async def post(self, _: Object, event_type: Any, reason: str, message: str) -> None:
        """Keep an Event."""
        self.posted.append(Event(event_type, reason, message))


class Bed:
    """A worker with everything around it; `script` says what reconciling returns."""

    def __init__(self) -> None:
        self.clock = Clock()
        # The time when the clock showed nothing.
        self.began = NOW
        self.server = ApiServer()
        self.events = Events()
        self.registry = CollectorRegistry()
        self.script: dict[Key, Script] = {}
        self.reconciled: list[Key] = []
        self.cache = Cache()
        self.limits = Limits(self.cache, workers=4, jitter=lambda: 1.0)
        self.backlog = Backlog[Key](
            capacity=4,
            group_of=self.limits.group_of,
            turn_of=lambda key: key.namespace,
            place_of=self.limits.place_of,
            limit_of=self.limits.limit_of,
            jitter=lambda: 1.0,
        )
        self.queue = WorkQueue(self.backlog, clock=self.clock)
        self.looks = Looks(
            self.queue, cache=self.cache, limits=self.limits, now=self.now
        )
        self.feed = Feed(
            self.cache, wake=self.looks.wake, operator_namespace="operators"
        )
        self.worker = Worker(
            cache=self.cache,
            feed=self.feed,
            queue=self.queue,
            limits=self.limits,
            reconcile=self._reconcile,
            kubernetes=self.server,
            events=self.events,
            metrics=Metrics(self.registry),
            now=self.now,
        )

    def now(self) -> datetime:
        """Return the time."""
        return self.began + timedelta(seconds=self.clock.time)

    def store(self, kind: Kind, obj: Json) -> Key:
        """Put an object into the API server, and have the watch tell of it."""
        metadata = obj["metadata"]
        key = Key(kind, metadata.get("namespace", ""), metadata["name"])
        self.server.objects[key] = obj
        self.feed.event(kind, "ADDED", obj)
        return key

    async def settle(self) -> None:
        """Work until nothing is queued."""
        for key in self.backlog.promote(now=self.clock()):
            assert key in self.backlog.queued
        while (taken := self.backlog.take()) is not None:
            await self.worker.work(taken)

    async def restart(self) -> "Bed":
        """Another process with the same API server, after its first lists."""
        bed = Bed()
        bed.script = self.script
        bed.server.objects = dict(self.server.objects)
        for kind in PLURALS:
            objects = [obj for key, obj in bed.server.objects.items() if key[0] == kind]
            bed.feed.listing(kind, objects, version="1000")
        await bed.settle()
        return bed

    def count(self, result: str, kind: Kind = "Database") -> float:
        """How many reconciles ended like that, by the metrics."""
        labels = {"controller": kind.lower(), "result": result}
        name = "controller_runtime_reconcile_total"
        return self.registry.get_sample_value(name, labels) or 0.0

    async def _reconcile(self, key: Key) -> Outcome:
        self.reconciled.append(key)
        outcome = self.script.get(key, Outcome())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Outcome) else await outcome()
