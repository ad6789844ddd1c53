"""What a command plans against: objects from a file, and those that are stored."""

import contextlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from pg_operator.api.specs import PLURALS
from pg_operator.cli.documents import Documents, check_documents
from pg_operator.cli.options import DSN
from pg_operator.cli.read_only import NEW, ReadOnly, show_secret, show_secrets
from pg_operator.kube.client import core_path, object_path
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.keys import KEYS_SECRET
from pg_operator.reconcilers.outcome import Key, Object, key_of
from pg_operator.reconcilers.planning import Draft, foresee, plan_object
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reach import find_cluster
from pg_operator.reconcilers.servers import Servers, Unavailable
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.cache import Cache

# Where the DSN lies for those who have no API server.
_PLACE: Final = ("pg-operator", "dsn")


class World:
    """Objects as they will be, the servers as they are, and what follows from both.

    The `open_clusters` stand nowhere: each agrees to what an object wants to adopt.
    """

    def __init__(
        self, context: Context, cache: Cache, *, open_clusters: Collection[str] = ()
    ) -> None:
        """Have in `cache` every object that will be asked for."""
        self._context = context
        self._cache = cache
        self._open_clusters = open_clusters

    async def foresee(self, keys: Collection[Key]) -> None:
        """Have plans count on what these objects will make: roles first, then all.

        Raises:
            PostgresError: a server refused something.
        """
        roles = [key for key in keys if key.kind == "DatabaseRole"]
        databases = [key for key in keys if key.kind == "Database"]
        for key in (*roles, *databases):
            with contextlib.suppress(Blocked):
                await foresee(self._context, key, await self._find(key))

    async def plan(self, key: Key) -> Draft:
        """Return what would be done for an object.

        Raises:
            Blocked: nothing would be, and why.
            PostgresError: a server refused something.
        """
        return await plan_object(self._context, key, await self._find(key))

    async def _find(self, key: Key) -> Object:
        """Return an object that can be planned, with its server at hand.

        Raises:
            Blocked: it cannot be, and why.
        """
        obj = self._cache.get(key)
        if obj is None:
            raise LookupError(f"{key} is not among the objects")
        cluster = find_cluster(self._cache, obj["spec"]["databaseClusterRef"]["name"])
        if cluster["metadata"]["name"] in self._open_clusters:
            self._agree(cluster, key, obj)
        try:
            await self._context.servers.link(cluster)
        except Unavailable as away:
            # Who runs this may know why, unlike a tenant.
            raise Blocked(away.reason, away.message) from None
        return obj

    def _agree(self, cluster: Object, key: Key, obj: Object) -> None:
        metadata = cluster["metadata"]
        version = str(int(metadata["resourceVersion"]) + 1)
        wanted = obj["spec"].get("roleName", obj["spec"].get("name"))
        listed = [{"name": wanted, "namespace": key.namespace}]
        plural = "roles" if key.kind == "DatabaseRole" else "databases"
        adoption = {"policy": "Listed", plural: listed}
        self._cache.put(
            "DatabaseCluster",
            {
                **cluster,
                "metadata": {**metadata, "resourceVersion": version},
                "spec": {**cluster["spec"], "adoption": adoption},
            },
        )


@contextlib.asynccontextmanager
async def world_of_server(
    documents: Documents, connection: Mapping[str, bytes]
) -> AsyncIterator[World]:
    """Give what there is without an API server: every DatabaseCluster is the DSN's.

    `connection` is what a connection Secret would hold.

    One that stands in no document lets its objects adopt what they ask for: whoever
    has the DSN may. Marks cannot be opened, and passwords are taken for new ones.

    Raises:
        BadDocuments: the documents break rules of admission.
    """
    check_documents(documents, stored={})
    kubernetes = ReadOnly.alone()
    show_secrets(kubernetes, documents)
    for place, keys in _passwords(documents):
        if place not in documents.secrets:
            show_secret(kubernetes, place, dict.fromkeys(keys, b"unknown"))
    show_secret(kubernetes, _PLACE, connection)
    reference = {"name": _PLACE[1], "key": DSN}
    objects = dict(documents.objects)
    for name in _clusters(documents):
        key = Key("DatabaseCluster", "", name)
        known = objects.get(key, {"metadata": {"name": name}, "spec": {}})
        objects[key] = {**known, "spec": {**known["spec"], "connection": reference}}
    cache = _cache(objects, {})
    async with _context(
        kubernetes,
        cache,
        operator_namespace=_PLACE[0],
        keyring=Keyring.from_secret(Keyring.generate()),
        owner_id="",
    ) as context:
        named = {key.name for key in documents.objects if key.kind == "DatabaseCluster"}
        yield World(context, cache, open_clusters=_clusters(documents) - named)


@contextlib.asynccontextmanager
async def world_of_cluster(
    documents: Documents, kubernetes: ReadOnly, *, operator_namespace: str
) -> AsyncIterator[World]:
    """Give all that is stored, as if the documents were.

    Raises:
        BadDocuments: the documents break rules of admission.
        KubernetesError: the API server does not answer, or refuses.
        ValueError: the Secret with the operator's keys is missing or broken.
    """
    stored: dict[Key, Object] = {}
    for kind in PLURALS:
        found, _ = await kubernetes.list(object_path(kind, ""))
        stored |= {key_of(kind, obj): obj for obj in found}
    namespaces, _ = await kubernetes.list(core_path("namespaces"))
    check_documents(documents, stored=stored)
    show_secrets(kubernetes, documents)
    keys = await kubernetes.read_secret(operator_namespace, KEYS_SECRET)
    if keys is None:
        raise ValueError(
            f"there is no Secret {operator_namespace}/{KEYS_SECRET}; is this the "
            "operator's namespace, and was it started there?"
        )
    objects = stored | {
        key: _merged(stored.get(key), obj) for key, obj in documents.objects.items()
    }
    cache = _cache(objects, {one["metadata"]["name"]: one for one in namespaces})
    async with _context(
        kubernetes,
        cache,
        operator_namespace=operator_namespace,
        keyring=Keyring.from_secret(keys.data),
        owner_id=await kubernetes.kube_system_uid(),
    ) as context:
        yield World(context, cache)


@contextlib.asynccontextmanager
async def _context(
    kubernetes: ReadOnly,
    cache: Cache,
    *,
    operator_namespace: str,
    keyring: Keyring,
    owner_id: str,
) -> AsyncIterator[Context]:
    servers = Servers(
        kubernetes=kubernetes,
        # Whoever runs this reads Secrets, and dials, by rights of their own.
        settings=Settings(
            namespace=operator_namespace,
            connection_namespaces=frozenset(_connection_namespaces(cache)),
            allow_loopback_servers=True,
        ),
        on_change=lambda _, **__: None,
        on_lost=lambda _: None,
        may_write=lambda: False,
        read_only=True,
    )
    try:
        yield Context(
            objects=cache,
            kubernetes=kubernetes,
            servers=servers,
            keyring=keyring,
            owner_id=owner_id,
            now=lambda: datetime.now(UTC),
            creates_less=lambda *_, **__: None,
        )
    finally:
        await servers.close()


def _connection_namespaces(cache: Cache) -> Iterator[str]:
    for cluster in cache.all("DatabaseCluster"):
        if namespace := cluster["spec"]["connection"].get("namespace"):
            yield namespace


def _cache(objects: Mapping[Key, Object], namespaces: Mapping[str, Object]) -> Cache:
    cache = Cache()
    for name in {key.namespace for key in objects if key.namespace} - {*namespaces}:
        cache.put("Namespace", _as_stored({"metadata": {"name": name}}))
    for namespace in namespaces.values():
        cache.put("Namespace", namespace)
    for key, obj in objects.items():
        cache.put(key.kind, _as_stored(obj))
    return cache


def _as_stored(obj: Object) -> Object:
    """Give an object what the API server would, unless it did."""
    metadata = obj["metadata"]
    place = f"{obj.get('kind', '')}/{metadata.get('namespace', '')}/{metadata['name']}"
    new = {"uid": f"new:{place}", "resourceVersion": NEW, "generation": 1}
    return {"status": {}, **obj, "metadata": {**new, **metadata}}


def _merged(stored: Object | None, obj: Object) -> Object:
    """Return an object as it will be stored once its document is applied."""
    if stored is None:
        return obj
    metadata = {**stored["metadata"]}
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        **obj["metadata"].get("annotations", {}),
    }
    return {**stored, "metadata": metadata, "spec": obj["spec"]}


def _passwords(documents: Documents) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Find the Secrets that roles take their passwords from."""
    keys: dict[tuple[str, str], list[str]] = {}
    for key, obj in documents.objects.items():
        if key.kind == "DatabaseRole" and (password := obj["spec"].get("password")):
            place = key.namespace, password["name"]
            keys.setdefault(place, []).append(password.get("key", "password"))
    yield from keys.items()


def _clusters(documents: Documents) -> frozenset[str]:
    return frozenset(
        key.name
        if key.kind == "DatabaseCluster"
        else obj["spec"]["databaseClusterRef"]["name"]
        for key, obj in documents.objects.items()
    )
