"""Which objects should look again when something changes. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from pg_operator.api.specs import FINALIZER, GROUP, Kind
from pg_operator.reconcilers.outcome import Key, Object, is_deleting, key_of
from pg_operator.reconcilers.pause import pause_of
from pg_operator.reconcilers.progress import condition
from pg_operator.runtime.cache import (
    Cache,
    Change,
    cluster_of,
    creates_in,
    follows,
    groups_of,
    service_of,
)

_OBJECT_KINDS: Final[tuple[Kind, ...]] = ("Database", "DatabaseRole")
# The fields of a DatabaseCluster that say what its objects may do, and how often they
# are looked at.
_RULES: Final = frozenset(
    {
        "allowedNamespaces",
        "namePrefix",
        "allowedMemberships",
        "allowedOwners",
        "allowedRoleAttributes",
        "allowedParameters",
        "allowedExtensions",
        "allowedTablespaces",
        "resyncInterval",
    }
)


def wakes(change: Change, cache: Cache) -> set[Key]:
    """Return the keys that a change concerns; `cache` has it already.

    What only a status says wakes others at most, never the object itself: it is the
    operator's own word.
    """
    if _is_successor(change):
        removed, added = change._replace(new=None), change._replace(old=None)
        return wakes(removed, cache) | wakes(added, cache)
    if change.kind == "Namespace":
        return set(_of_namespace(change, cache))
    itself, others = set(_of_itself(change, change.kind)), set[Key]()
    match change.kind:
        case "DatabaseCluster":
            others.update(_of_cluster(change, cache))
        case "Database":
            others.update(_of_database(change, cache))
        case "DatabaseRole":
            others.update(_of_role(change, cache))
    if change.new is None:
        others.update(_terminating_cluster(cluster_of(_sides(change)[0]), cache))
    return itself | (others - {key_of(change.kind, _sides(change)[0])})


def outside_wakes(change: Change, woken: Iterable[Key], cache: Cache) -> set[Key]:
    """Return those of the `woken` for whom a look from outside will do.

    Other rules of a DatabaseCluster leave true what its objects declare, inside of
    databases too, and who breaks one now is found without a look there. Not so who has
    permissions on all that will be: that goes by who creates it, of other objects.
    """
    views = (_uid, is_deleting, _annotations, _server, _without_rules)
    if change.kind != "DatabaseCluster" or any(_differ(change, one) for one in views):
        return set()
    objects = {key: cache.get(key) for key in woken if key.kind in _OBJECT_KINDS}
    return {key for key, obj in objects.items() if obj is not None and not follows(obj)}


def creator_wakes(
    role: Object, cache: Cache, *, closed: Iterable[str], left: Iterable[str]
) -> set[Key]:
    """Return the keys that the default privileges for a role's objects are there for.

    Where it creates less: in databases `closed` to it, and by groups that it `left`.
    """
    cluster = cluster_of(role)
    databases = {*closed, *_create_in(left, cluster, cache)}
    return {*_followers(cluster, databases, cache)} - {key_of("DatabaseRole", role)}


def secret_wakes(
    namespace: str, name: str, cache: Cache, *, operator_namespace: str
) -> set[Key]:
    """Return the keys whose spec refers to a Secret."""
    places = {namespace, "" if namespace == operator_namespace else namespace}
    clusters = (
        key_of("DatabaseCluster", cluster)
        for place in places
        for cluster in cache.find("DatabaseCluster", "secret", place, name)
    )
    roles = cache.find("DatabaseRole", "secret", namespace, name)
    return {*clusters, *(key_of("DatabaseRole", role) for role in roles)}


def _of_itself(change: Change, kind: Kind) -> Iterator[Key]:
    """The object: it began, was told something else, or ended."""
    old, new = change.old, change.new
    if old is None or new is None:
        yield key_of(kind, _sides(change)[0])
        return
    has_lost_finalizer = FINALIZER in _finalizers(old) and not (
        FINALIZER in _finalizers(new) or is_deleting(new)
    )
    is_told = _differ(change, _annotations)
    if _is_edited(change) or has_lost_finalizer or is_told:
        yield key_of(kind, new)


def _of_cluster(change: Change, cache: Cache) -> Iterator[Key]:
    """Everything on it, when it may now be worked on, or differently, or not."""
    if any((_is_edited(change), _differ(change, _server), _differ(change, pause_of))):
        yield from _found(cache, _OBJECT_KINDS, "cluster", _name(change))


def _of_database(change: Change, cache: Cache) -> Iterator[Key]:
    """Roles that may work in it, or were to go after it, and its rivals."""
    if _is_edited(change) or _differ(change, _readiness):
        for obj in _sides(change):
            place = cluster_of(obj), _server_name(obj)
            yield from _found(cache, ("DatabaseRole",), "permits", *place)
            yield from _found(cache, ("DatabaseRole",), "terminating", place[0])
            yield from _found(cache, ("Database",), "named", *place)
            yield from _found(cache, ("Database",), "template", *place)
    if _differ(change, _reconciled):
        # Its owners may be others now, and so who creates objects in its schemas.
        side = _sides(change)[0]
        yield from _followers(cluster_of(side), [_server_name(side)], cache)
    if _differ(change, service_of):
        # Each sharer writes the Service with all its owners, so whoever writes last
        # must have seen the last one come or go.
        for obj in _sides(change):
            place = obj["metadata"]["namespace"], service_of(obj)
            yield from _found(cache, ("Database",), "service", *place)


def _of_role(change: Change, cache: Cache) -> Iterator[Key]:
    """Rivals for its name, and objects that name it: its databases, its members."""
    is_edited = _is_edited(change)
    for obj in _sides(change):
        place = cluster_of(obj), _server_name(obj)
        if is_edited:
            yield from _found(cache, ("DatabaseRole",), "named", *place)
        if is_edited or _differ(change, _oid):
            yield from _found(cache, _OBJECT_KINDS, "names-role", *place)
    if _differ(change, _reconciled):
        # Who was granted everything in a schema is, on what this one will create.
        sides = _sides(change)
        databases = frozenset().union(*(_creates_in(side, cache) for side in sides))
        yield from _followers(cluster_of(sides[0]), databases, cache)


def _creates_in(role: Object, cache: Cache) -> frozenset[str]:
    """The databases in which a role may create, by itself or by its groups."""
    by_groups = _create_in(groups_of(role), cluster_of(role), cache)
    return creates_in(role) | by_groups


def _create_in(groups: Iterable[str], cluster: str, cache: Cache) -> frozenset[str]:
    """The databases in which roles or their groups may create."""
    databases, waiting, seen = set[str](), [*groups], set[str]()
    while waiting:
        group = waiting.pop()
        if group not in seen:
            seen.add(group)
            for found in cache.find("DatabaseRole", "named", cluster, group):
                databases |= creates_in(found)
                waiting += groups_of(found)
    return frozenset(databases)


def _of_namespace(change: Change, cache: Cache) -> Iterator[Key]:
    """Everything in it, which its labels may let in somewhere or shut out."""
    if _is_edited(change) or _differ(change, _labels):
        yield from _found(cache, _OBJECT_KINDS, "namespace", _name(change))


def _followers(cluster: str, databases: Iterable[str], cache: Cache) -> Iterator[Key]:
    """The roles that have permissions on all that is created in databases."""
    for database in databases:
        yield from _found(cache, ("DatabaseRole",), "follows", cluster, database)


def _found(cache: Cache, kinds: Iterable[Kind], *entry: str) -> Iterator[Key]:
    for kind in kinds:
        for obj in cache.find(kind, *entry):
            yield key_of(kind, obj)


def _terminating_cluster(name: str, cache: Cache) -> Iterator[Key]:
    """The DatabaseCluster that waits for its objects to go."""
    key = Key("DatabaseCluster", "", name)
    cluster = cache.get(key)
    if cluster is not None and is_deleting(cluster):
        yield key


def _is_successor(change: Change) -> bool:
    """Tell whether another object took the name: the deletion was not seen."""
    is_known = change.old is not None and change.new is not None
    return is_known and _differ(change, _uid)


def _is_edited(change: Change) -> bool:
    """Tell whether an object came, went, began to go, or got another spec."""
    return _differ(change, lambda obj: obj["metadata"].get("generation")) or _differ(
        change, is_deleting
    )


def _differ(change: Change, view: Callable[[Object], Any]) -> bool:
    old, new = change.old, change.new
    if old is None or new is None:
        return True
    return bool(view(old) != view(new))


def _sides(change: Change) -> list[Object]:
    """The object before and after, as far as there is one: both may be referred to."""
    return [obj for obj in (change.old, change.new) if obj is not None]


def _name(change: Change) -> str:
    return str(_sides(change)[0]["metadata"]["name"])


def _server_name(obj: Object) -> str:
    """The name that a Database or DatabaseRole has on its server."""
    spec = obj.get("spec", {})
    return str(spec.get("roleName", spec.get("name")))


def _server(cluster: Object) -> tuple[object, ...]:
    """What a DatabaseCluster's status says that its objects depend on."""
    status = cluster.get("status", {})
    return (
        _standing(cluster, "Available"),
        status.get("server"),
        status.get("capabilities"),
    )


def _without_rules(cluster: Object) -> Mapping[str, Any]:
    """Return what a DatabaseCluster's spec says of anything but what objects may do."""
    return {
        name: value for name, value in cluster["spec"].items() if name not in _RULES
    }


def _uid(obj: Object) -> object:
    return obj["metadata"]["uid"]


def _oid(role: Object) -> object:
    """What a DatabaseRole's status says once its role was made."""
    return role.get("status", {}).get("oid")


def _reconciled(obj: Object) -> tuple[object, ...]:
    """What an object's status says once its spec is true, and until then of it."""
    ready = condition(obj, "Ready")
    pending = None if ready.get("status") == "True" else ready.get("message")
    generation = obj.get("status", {}).get("observedGeneration")
    return _standing(obj, "Ready"), generation, pending


def _readiness(database: Object) -> tuple[object, ...]:
    return _standing(database, "Ready"), database.get("status", {}).get("oid")


def _standing(obj: Object, kind: str) -> tuple[object, object]:
    """What a condition says, but for its message."""
    found = condition(obj, kind)
    return found.get("status"), found.get("reason")


def _finalizers(obj: Object) -> Iterable[str]:
    return obj["metadata"].get("finalizers") or ()


def _labels(namespace: Object) -> object:
    return namespace["metadata"].get("labels")


def _annotations(obj: Object) -> Mapping[str, str]:
    """The annotations that are instructions to us."""
    return {
        name: value
        for name, value in (obj["metadata"].get("annotations") or {}).items()
        if name.startswith(f"{GROUP}/")
    }
