"""The objects as last seen, indexed by what is looked up. No I/O."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pg_operator.api.privileges import ALL
from pg_operator.api.specs import WILDCARD, DatabaseSpec, Kind
from pg_operator.api.validation import validate_database
from pg_operator.reconcilers.outcome import Key, Object, is_deleting
from pg_operator.runtime.slim import CachedKind, Slim

Name = tuple[str, str]
Entry = tuple[str, ...]

# Words on a schema with which a role may create in it.
_CREATING: Final = frozenset({"CREATE", ALL})
# Far more than the objects deleted while one request or event is under way.
_MOST_GONE: Final = 10_000


class Change(NamedTuple):
    """What became of one object; `new` is None when it is gone."""

    kind: CachedKind
    old: Object | None
    new: Object | None


class Cache:
    """Keeps the newest version of every object; implements `Objects`.

    Events, lists and answers to our own writes come here in any order, so an older
    version never replaces a newer one, and a deleted object never comes back.
    """

    def __init__(self) -> None:
        self._objects: defaultdict[CachedKind, dict[Name, Object]] = defaultdict(dict)
        self._index: defaultdict[tuple[CachedKind, Entry], dict[Name, None]]
        self._index = defaultdict(dict)
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._slim = Slim()
        self._declared: dict[Name, tuple[Object, DatabaseSpec | None]] = {}

    def get(self, key: Key) -> Object | None:
        """Return the object of that key, if it exists."""
        return self._objects[key.kind].get((key.namespace, key.name))

    def namespace(self, name: str) -> Object | None:
        """Return a Namespace (its metadata only), if it exists."""
        return self._objects["Namespace"].get(("", name))

    def all(self, kind: CachedKind) -> tuple[Object, ...]:
        """Return every object of a kind."""
        return tuple(self._objects[kind].values())

    def of_cluster(self, kind: Kind, cluster: str) -> tuple[Object, ...]:
        """Return the Databases or DatabaseRoles that name a DatabaseCluster."""
        return self.find(kind, "cluster", cluster)

    def named(self, kind: Kind, cluster: str, name: str) -> tuple[Object, ...]:
        """Return those of them whose database or role is to have a name there."""
        return self.find(kind, "named", cluster, name)

    def sharing(self, namespace: str, service: str) -> tuple[Object, ...]:
        """Return the Databases of a namespace that keep a Service there alive."""
        return self.find("Database", "service", namespace, service)

    def declared(self, database: Object) -> DatabaseSpec | None:
        """Return what a stored Database declares; None when that breaks a rule.

        It is judged once: thousands may ask for one name, and are looked at for each
        object that refers to it.
        """
        name = _name(database)
        judged, spec = self._declared.get(name, (None, None))
        if judged is not database:
            is_valid = not validate_database(database).errors
            spec = DatabaseSpec.parse(database["spec"]) if is_valid else None
            self._declared[name] = database, spec
        return spec

    def find(self, kind: Kind, *entry: str) -> tuple[Object, ...]:
        """Return the objects with one of the entries that `index_entries` lists."""
        names = self._index.get((kind, entry), {})
        return tuple(self._objects[kind][name] for name in names)

    def compact(self, kind: CachedKind, obj: Object) -> Object:
        """Return what is kept of an object, the stored one if it is that very one."""
        stored = self._objects[kind].get(_name(obj))
        if stored is not None and _version(stored) == _version(obj):
            return stored
        return self._slim(kind, obj)

    def put(self, kind: CachedKind, obj: Object) -> Change | None:
        """Store what a watch or list says; None when that is nothing new."""
        metadata = obj["metadata"]
        name = _name(obj)
        old = self._objects[kind].get(name)
        if metadata["uid"] in self._gone:
            return None
        if old is not None and not _is_newer(obj, than=old):
            return None
        if old is not None:
            self._drop(kind, old, gone=old["metadata"]["uid"] != metadata["uid"])
        new = self._slim(kind, obj)
        self._objects[kind][name] = new
        for entry in index_entries(new):
            self._index[kind, entry][name] = None
        return Change(kind, old, new)

    def refresh(self, kind: CachedKind, obj: Object) -> Change | None:
        """Store the answer to a write of ours, unless the object is gone by now."""
        stored = self._objects[kind].get(_name(obj))
        if stored is None or stored["metadata"]["uid"] != obj["metadata"]["uid"]:
            return None
        return self.put(kind, obj)

    def remove(self, kind: CachedKind, obj: Object) -> Change | None:
        """Drop a deleted object; None when it, or its successor, is not stored."""
        uid = obj["metadata"]["uid"]
        self._remember_gone(uid)
        old = self._objects[kind].get(_name(obj))
        if old is None or old["metadata"]["uid"] != uid:
            return None
        self._drop(kind, old, gone=True)
        return Change(kind, old, None)

    def replace(
        self, kind: CachedKind, objects: Iterable[Object], *, version: str
    ) -> list[Change]:
        """Store a whole list of `version`; return what differed from it.

        An object that is missing in it is gone, unless it is younger than the list.
        """
        listed = list(objects)
        found = {obj["metadata"]["uid"] for obj in listed}
        missing = [
            obj
            for obj in self.all(kind)
            if obj["metadata"]["uid"] not in found
            and not _is_later(obj["metadata"]["resourceVersion"], than=version)
        ]
        changes = [self.remove(kind, obj) for obj in missing]
        changes += [self.put(kind, obj) for obj in listed]
        return [change for change in changes if change is not None]

    def _drop(self, kind: CachedKind, obj: Object, *, gone: bool) -> None:
        name = _name(obj)
        del self._objects[kind][name]
        for entry in index_entries(obj):
            names = self._index[kind, entry]
            del names[name]
            if not names:
                del self._index[kind, entry]
        if kind == "Database":
            self._declared.pop(name, None)
        if gone:
            self._remember_gone(obj["metadata"]["uid"])

    def _remember_gone(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > _MOST_GONE:
            self._gone.popitem(last=False)


def index_entries(obj: Object) -> set[Entry]:
    """Return what an object is found by.

    An entry is a word and values: `cluster` NAME; `namespace` NAME; `named` CLUSTER and
    the database's or role's name there; `permits` CLUSTER and a database that a role
    has permissions in; `follows` the same, if one is on all objects of a kind, so also
    on those that others will create; `names-role` CLUSTER and a role that is named;
    `template` CLUSTER and a database that another is a copy of; `terminating` CLUSTER;
    `service` NAMESPACE NAME; `secret` NAMESPACE NAME, where no namespace is that of the
    object, or the operator's.
    """
    spec, metadata = obj.get("spec", {}), obj["metadata"]
    namespace = metadata.get("namespace", "")
    cluster = cluster_of(obj)
    entries: set[Entry] = set()
    if namespace:
        entries.add(("namespace", namespace))
    if cluster:
        entries.add(("cluster", cluster))
        entries.add(("named", cluster, str(spec.get("roleName", spec.get("name")))))
        for word, database in _databases(spec):
            entries.add((word, cluster, database))
        if template := spec.get("template"):
            entries.add(("template", cluster, str(template)))
        for role in _named_roles(spec):
            entries.add(("names-role", cluster, role))
        if is_deleting(obj):
            entries.add(("terminating", cluster))
    if service := service_of(obj):
        entries.add(("service", namespace, service))
    for field in ("connection", "password", "connectionSecret"):
        if reference := spec.get(field):
            owner = str(reference.get("namespace", namespace))
            entries.add(("secret", owner, str(reference.get("name"))))
    return entries


def cluster_of(obj: Object) -> str:
    """Return the name of the DatabaseCluster that an object refers to, or ""."""
    reference = obj.get("spec", {}).get("databaseClusterRef") or {}
    return str(reference.get("name", ""))


def service_of(obj: Object) -> str:
    """Return the Service that a Database keeps alive, or ""."""
    if is_deleting(obj):
        return ""
    return obj.get("spec", {}).get("databaseServiceName") or ""


def follows(role: Object) -> bool:
    """Tell whether a role has permissions on all that there is, and will be."""
    return any(map(_has_wildcard, role["spec"].get("permissions") or ()))


def _databases(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The databases that a role depends on, and how."""
    for permission in spec.get("permissions") or ():
        yield "permits", str(permission.get("database"))
        if _has_wildcard(permission):
            yield "follows", str(permission.get("database"))
    if database := (spec.get("connectionSecret") or {}).get("database"):
        yield "permits", str(database)


def _named_roles(spec: Mapping[str, Any]) -> Iterator[str]:
    """The roles that an object names, in a spec that may be invalid."""
    for group in spec.get("memberOf") or ():
        yield str(group.get("role"))
    for owned in (spec, *(spec.get("schemas") or ())):
        if owner := owned.get("owner"):
            yield str(owner)
        yield from map(str, owned.get("creators") or ())


def creates_in(role: Object) -> frozenset[str]:
    """Return the databases in which a role is permitted to create objects."""
    return frozenset(
        str(permission.get("database"))
        for permission in role.get("spec", {}).get("permissions") or ()
        for schema in permission.get("schemas") or ()
        if not _CREATING.isdisjoint(schema.get("privileges") or ())
    )


def groups_of(role: Object) -> frozenset[str]:
    """Return the roles that a role is to be a member of."""
    memberships = role.get("spec", {}).get("memberOf") or ()
    return frozenset(str(membership.get("role")) for membership in memberships)


def _has_wildcard(permission: Mapping[str, Any]) -> bool:
    return any(
        entry.get("name") == WILDCARD
        for schema in permission.get("schemas") or ()
        for entries in schema.values()
        if isinstance(entries, list)
        for entry in entries
        if isinstance(entry, dict)
    )


def _name(obj: Object) -> Name:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata["uid"], metadata["resourceVersion"]


def _is_newer(obj: Object, *, than: Object) -> bool:
    version = obj["metadata"]["resourceVersion"]
    stored = than["metadata"]["resourceVersion"]
    if version == stored:
        return False
    return not _is_later(stored, than=version)


def _is_later(version: str, *, than: str) -> bool:
    """Compare two resource versions; those that are no numbers have no order.

    Kubernetes keeps them comparable within one resource since 1.35, and etcd's
    revisions always were.
    """
    if not (version.isdecimal() and than.isdecimal()):
        return False
    return int(version) > int(than)
