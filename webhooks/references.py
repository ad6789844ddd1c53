"""What an object refers to that is not there yet, as the stored objects tell. Pure.

Every warning is in the words of the condition that the object would get. What only the
server knows, such as whether a role that the DatabaseCluster lists exists, is left to
the controller.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseClusterSpec, Kind
from pg_operator.plan.role_references import RoleStanding
from pg_operator.plan.state import Pending
from pg_operator.reconcilers.outcome import Key, Object, is_deleting
from pg_operator.reconcilers.progress import Blocked, condition, is_current
from pg_operator.reconcilers.reach import (
    OPEN_SCHEMAS,
    check_allowed,
    databases_named,
    find_cluster,
    lets_in,
    roles_named,
    terminating,
    unavailable,
    why_not_granted,
    why_not_in_schema,
    why_not_joined,
    why_not_passed_on,
    why_role_not_used,
)
from pg_operator.runtime.cache import Cache, cluster_of

NAME_FIELDS: Final[Mapping[str, str]] = {"Database": "name", "DatabaseRole": "roleName"}
# With one of these the name was never the object's, or is so no longer.
_LOST: Final = frozenset({Reason.CONFLICT, Reason.ALREADY_EXISTS, Reason.UNVERIFIED})


def is_readable(kind: Kind, obj: Object) -> bool:
    """Tell whether what names an object is there; a stored one may have any fault."""
    spec, field = obj.get("spec"), NAME_FIELDS.get(kind)
    if field is None or not isinstance(spec, dict):
        return False
    reference = spec.get("databaseClusterRef")
    names = [spec.get(field)]
    names.append(reference.get("name") if isinstance(reference, dict) else None)
    return all(isinstance(name, str) for name in names)


def key_to_be(kind: Kind, obj: Object) -> Key:
    """Return the key of an object, whose name may still have to be generated."""
    metadata = obj["metadata"]
    return Key(kind, metadata.get("namespace", ""), metadata.get("name", ""))


def has_the_name(obj: Object) -> bool:
    """Tell whether the operator said that the name is this object's."""
    reason = condition(obj, "Ready").get("reason")
    return "oid" in obj.get("status", {}) and reason not in _LOST


def warn_of_references(kind: Kind, obj: Object, objects: Cache) -> Iterator[str]:
    """Warn of what a readable object names and could not use now."""
    try:
        cluster = find_cluster(objects, cluster_of(obj))
        yield from _judge_cluster(kind, obj, cluster, objects)
    except Blocked as blocked:
        yield blocked.message
    else:
        yield from _words(_judge_roles(obj, cluster, objects))
    for permission in _named(obj["spec"].get("permissions"), "database"):
        yield from _words(_judge_permission(obj, permission, objects))


def _words(pending: Iterable[Pending]) -> Iterator[str]:
    return (f"{part.path}: {part.message}" for part in pending)


def _judge_cluster(
    kind: Kind, obj: Object, cluster: Object, objects: Cache
) -> Iterator[str]:
    """Warn of a DatabaseCluster that takes nothing new, or does not work.

    Raises:
        Blocked: whom it lets in is not known, or not this object.
    """
    name = NAME_FIELDS[kind]
    path, wanted = f"spec.{name}", obj["spec"][name]
    key = key_to_be(kind, obj)
    check_allowed(cluster, key, objects=objects, path=path, name=wanted)
    if is_deleting(cluster):
        what = "databases" if kind == "Database" else "roles"
        yield terminating(cluster_of(obj), what=what).message
    elif condition(cluster, "Available").get("status") != "True":
        yield unavailable(cluster_of(obj)).message


def _judge_roles(obj: Object, cluster: Object, objects: Cache) -> Iterator[Pending]:
    """Look at the roles that are named as owner, creator or group."""
    spec, lists = obj["spec"], DatabaseClusterSpec.parse(cluster["spec"])
    for path, name in _owners_and_creators(spec):
        standing = _standing(name, obj, objects)
        if name not in lists.allowed_owners and standing is not RoleStanding.USABLE:
            yield why_role_not_used(path, name, standing, cluster=cluster_of(obj))
    for entry in _named(spec.get("memberOf"), "role"):
        name = entry["role"]
        standing = _standing(name, obj, objects)
        if name in lists.allowed_memberships:
            if entry.get("admin") is True:
                yield why_not_passed_on(name)
        elif standing is not RoleStanding.USABLE:
            yield why_not_joined(name, standing)


def _standing(name: str, obj: Object, objects: Cache) -> RoleStanding:
    """Judge a role that no DatabaseCluster lists, by what declares it."""
    cluster, namespace = cluster_of(obj), obj["metadata"]["namespace"]
    roles = list(roles_named(objects, cluster=cluster, name=name, namespace=namespace))
    if not roles:
        return RoleStanding.FOREIGN
    made = any(map(has_the_name, roles))
    return RoleStanding.USABLE if made else RoleStanding.NOT_READY


def _owners_and_creators(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield paths and names as `DatabaseSpec.named_roles` does, of any document."""
    for path, owned in (
        ("spec", spec),
        *(
            (f"spec.schemas[{s['name']}]", s)
            for s in _named(spec.get("schemas"), "name")
        ),
    ):
        if isinstance(owned.get("owner"), str):
            yield f"{path}.owner", owned["owner"]
        creators = owned.get("creators")
        for creator in creators if isinstance(creators, list) else ():
            if isinstance(creator, str):
                yield f"{path}.creators[{creator}]", creator


def _judge_permission(
    obj: Object, permission: Mapping[str, Any], objects: Cache
) -> Iterator[Pending]:
    """Look whether something can be granted in the database of a permission now."""
    name, namespace = permission["database"], obj["metadata"]["namespace"]
    found = list(databases_named(objects, cluster_of(obj), name))
    is_open = [
        lets_in(spec.allowed_namespaces, namespace, objects=objects, own=key.namespace)
        for key, spec in found
    ]
    serving = [
        spec
        for (key, spec), opened in zip(found, is_open, strict=True)
        if opened and _is_ready(objects, key)
    ]
    if not serving:
        yield why_not_granted(
            name, cluster=cluster_of(obj), namespace=namespace, open_to_it=is_open
        )
        return
    listed = OPEN_SCHEMAS.union(*(spec.schema_names for spec in serving))
    for schema in _named(permission.get("schemas"), "name"):
        if schema["name"] not in listed:
            yield why_not_in_schema(name, schema["name"])


def _is_ready(objects: Cache, key: Key) -> bool:
    database = objects.get(key)
    return database is not None and is_current(database)


def _named(entries: object, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a list that have their list key."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            yield entry
