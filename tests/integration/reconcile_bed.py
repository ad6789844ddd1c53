"""Reconcilers on a real server, with objects and Secrets in memory."""

import contextlib
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

from pg_operator.api.specs import Kind
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.secrets import SecretData
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key, Object, Outcome
from pg_operator.reconcilers.reconcile import Reconcilers
from pg_operator.reconcilers.servers import Servers
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.cache import Cache

OPERATOR = "operators"
# What specs say of the DatabaseCluster that a stage has.
MAIN = {"databaseClusterRef": {"name": "main"}}


class Stage:
    """A cache of objects, and reconciles of them, one at a time."""

    def __init__(self, dsn: str) -> None:
        self.cache = Cache()
        self.secrets = {(OPERATOR, "dsn"): {"connection": dsn.encode()}}
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self._version = 0
        self.crds_are_going = False
        self.uid_prefix = "uid-of"
        # Where the last reconciled role creates less: databases, and groups it left.
        self.stopped: tuple[set[str], set[str]] = (set(), set())
        self.settings = Settings(namespace=OPERATOR, allow_loopback_servers=True)
        kubernetes = cast("Kubernetes", self)
        self.context = Context(
            objects=self.cache,
            kubernetes=kubernetes,
            servers=Servers(
                kubernetes=kubernetes,
                settings=self.settings,
                on_change=lambda _, **__: None,
                on_lost=lambda _: None,
            ),
            keyring=Keyring.from_secret(Keyring.generate()),
            owner_id="this-cluster",
            now=lambda: self.now,
            creates_less=self.creates_less,
        )

    def creates_less(
        self, _: Object, /, *, closed: Collection[str], left: Collection[str]
    ) -> None:
        """Take note of what others are woken for."""
        self.stopped = ({*closed}, {*left})

    async def read_secret(self, namespace: str, name: str) -> SecretData | None:
        """Return a Secret of this stage."""
        data = self.secrets.get((namespace, name))
        if data is None:
            return None
        # Another content is another version, as it is where Secrets are stored.
        version = str(hash(tuple(sorted(data.items()))))
        return SecretData(namespace, name, version, data)

    async def get(self, path: str) -> Object | None:
        """Return a CRD; nothing else is here that is asked for by its path."""
        if "/customresourcedefinitions/" not in path:
            return None
        going = {"deletionTimestamp": "now"} if self.crds_are_going else {}
        return {"metadata": going}

    def put(
        self,
        kind: Kind,
        name: str,
        spec: dict[str, Any],
        *,
        namespace: str = "",
        status: Object = MappingProxyType({}),
        annotations: Object = MappingProxyType({}),
    ) -> Key:
        """Store the next version of an object, and its Namespace."""
        self._version += 1
        if namespace:
            self.cache.put("Namespace", self._object(namespace, {}))
        obj = self._object(name, spec, namespace=namespace)
        metadata = {**obj["metadata"], "annotations": annotations}
        self.cache.put(kind, {**obj, "metadata": metadata, "status": status})
        return Key(kind, namespace, name)

    def say_ready(
        self,
        key: Key,
        *,
        is_ready: bool,
        reason: str = "",
        status: Object = MappingProxyType({}),
    ) -> None:
        """Have an object's status say whether it is Ready, as the runtime does."""
        obj = self.cache.get(key)
        assert obj is not None
        self._version += 1
        word = "True" if is_ready else "False"
        condition = {"type": "Ready", "status": word, "reason": reason}
        status = {
            **status,
            "observedGeneration": obj["metadata"]["generation"],
            "conditions": [condition],
        }
        metadata = {**obj["metadata"], "resourceVersion": str(self._version)}
        self.cache.put(key.kind, {**obj, "metadata": metadata, "status": status})

    def delete(self, key: Key, *, annotations: Object = MappingProxyType({})) -> None:
        """Begin the deletion of an object, now."""
        obj = self.cache.get(key)
        assert obj is not None
        self._version += 1
        metadata = {
            **obj["metadata"],
            "resourceVersion": str(self._version),
            "annotations": {**obj["metadata"].get("annotations", {}), **annotations},
            "deletionTimestamp": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.cache.put(key.kind, {**obj, "metadata": metadata})

    def remove(self, key: Key) -> None:
        """Take an object away, as if its finalizer had let it go."""
        obj = self.cache.get(key)
        assert obj is not None
        self.cache.remove(key.kind, obj)

    def _object(self, name: str, spec: Object, *, namespace: str = "") -> Object:
        scope = {"namespace": namespace} if namespace else {}
        version = self._version if namespace else 0
        metadata = {
            **scope,
            "name": name,
            "uid": f"{self.uid_prefix}-{namespace}-{name}-{version}",
            "resourceVersion": str(self._version),
            "generation": self._version,
        }
        return {"metadata": metadata, "spec": spec, "status": {}}

    async def reconcile(self, key: Key) -> tuple[str, str, Outcome]:
        """Reconcile an object: reason and message of its Ready condition."""
        outcome = await Reconcilers(self.context, self.settings).reconcile(key)
        ready = [each for each in outcome.conditions if each.type == "Ready"]
        reason = ready[0].reason if ready else ""
        return str(reason), ready[0].message if ready else "", outcome


@contextlib.asynccontextmanager
async def on_stage(dsn: str, **cluster: Any) -> AsyncIterator[Stage]:
    """Give a stage with a DatabaseCluster `main`, and close its connections."""
    stage = Stage(dsn)
    stage.put("DatabaseCluster", "main", {"connection": {"name": "dsn"}, **cluster})
    try:
        yield stage
    finally:
        await stage.context.servers.close()
