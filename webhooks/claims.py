"""What admission says of an object beside the others that are stored. Pure.

Only one thing is refused: a name that a living object of another namespace holds. All
else may change before the object is worked on (GitOps tools try everything before they
apply anything, and prune last), so it is a warning, in the words of the condition that
the object would get.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.errors import FieldError, Verdict
from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Key, Object, is_deleting, key_of
from pg_operator.reconcilers.progress import Blocked, condition, is_current
from pg_operator.reconcilers.reach import (
    OPEN_SCHEMAS,
    check_allowed,
    databases_named,
    find_cluster,
    terminating,
    unavailable,
    why_not_granted,
    why_not_in_schema,
)
from pg_operator.runtime.cache import Cache, cluster_of

NAME_FIELDS: Final[Mapping[str, str]] = {"Database": "name", "DatabaseRole": "roleName"}
_TRACKING: Final = (
    ("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
    ("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
    ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace"),
    ("applyset.kubernetes.io/part-of",),
)
# Its value begins with the application's name and a colon.
_ARGO_CD: Final = "argocd.argoproj.io/tracking-id"
# With one of these the name was never the object's, or is so no longer.
_LOST: Final = frozenset({Reason.CONFLICT, Reason.ALREADY_EXISTS, Reason.UNVERIFIED})


def judge_claims(
    kind: Kind, new: Object, *, old: Object | None, objects: Cache
) -> Verdict:
    """Judge a valid document beside the stored ones, as a change of `old` if any.

    What could be said of `old`, too, is not said again.
    """
    field = NAME_FIELDS.get(kind)
    if field is None or not _is_readable(field, new):
        return Verdict()
    warnings = list(_warnings(kind, field, new, objects))
    if old is not None:
        readable = _is_readable(field, old)
        known = set(_warnings(kind, field, old, objects) if readable else ())
        warnings = [text for text in warnings if text not in known]
        return Verdict(warnings=tuple(warnings))
    errors, doubts = _judge_name(kind, field, new, objects)
    return Verdict(errors, (*doubts, *warnings))


def _warnings(kind: Kind, field: str, obj: Object, objects: Cache) -> Iterator[str]:
    try:
        _check_cluster(kind, field, obj, objects)
    except Blocked as blocked:
        yield blocked.message
    for permission in _named(obj["spec"].get("permissions"), "database"):
        yield from _check_permission(obj, permission, objects)


def _check_cluster(kind: Kind, field: str, obj: Object, objects: Cache) -> None:
    """Look whether the DatabaseCluster is there, lets the object in, and works.

    Raises:
        Blocked: it is not, or does not.
    """
    cluster = find_cluster(objects, cluster_of(obj))
    name = obj["spec"][field]
    check_allowed(cluster, _key(kind, obj), path=f"spec.{field}", name=name)
    if is_deleting(cluster):
        what = "databases" if kind == "Database" else "roles"
        raise terminating(cluster_of(obj), what=what)
    if condition(cluster, "Available").get("status") != "True":
        raise unavailable(cluster_of(obj))


def _check_permission(
    obj: Object, permission: Mapping[str, Any], objects: Cache
) -> Iterator[str]:
    """Look whether something can be granted in the database of a permission now."""
    name, namespace = permission["database"], obj["metadata"]["namespace"]
    found = list(databases_named(objects, cluster_of(obj), name))
    is_open = [
        spec.allowed_namespaces.allows(namespace, own=key.namespace)
        for key, spec in found
    ]
    serving = [
        spec
        for (key, spec), opened in zip(found, is_open, strict=True)
        if opened and _is_ready(objects, key)
    ]
    if not serving:
        why = why_not_granted(
            name, cluster=cluster_of(obj), namespace=namespace, open_to_it=is_open
        )
        yield f"{why.path}: {why.message}"
        return
    listed = OPEN_SCHEMAS.union(*(spec.schema_names for spec in serving))
    for schema in _named(permission.get("schemas"), "name"):
        if schema["name"] not in listed:
            why = why_not_in_schema(name, schema["name"])
            yield f"{why.path}: {why.message}"


def _is_ready(objects: Cache, key: Key) -> bool:
    database = objects.get(key)
    return database is not None and is_current(database)


def _judge_name(
    kind: Kind, field: str, new: Object, objects: Cache
) -> tuple[tuple[FieldError, ...], tuple[str, ...]]:
    """Look whose the name is; nothing is told of objects of other namespaces."""
    name, path = new["spec"][field], f"spec.{field}"
    noun = "database" if kind == "Database" else "role"
    place = f"{noun} '{name}' on DatabaseCluster '{cluster_of(new)}'"
    namespace = new["metadata"]["namespace"]
    doubt = ""
    for rival, same_server in _rivals(kind, field, new, objects):
        metadata = rival["metadata"]
        if metadata["namespace"] == namespace:
            # A change of metadata.name: the old object goes last.
            doubt = (
                f"{place} is already declared by {kind} '{metadata['name']}'; only one "
                "of the two can have it"
            )
        elif not _owns(rival) or not same_server:
            doubt = (
                f"{place} is already declared by another object; only one of the two "
                "can have it"
            )
        elif _tracked_by(new) & _tracked_by(rival):
            # A move to another namespace: the old object goes last.
            doubt = (
                f"{place} is still managed by another object of the same release; "
                "this one waits until that is deleted"
            )
        else:
            detail = (
                f"{place} is already managed by another object; choose another name "
                "or ask the cluster's administrator"
            )
            message = f"Forbidden: {detail}"
            error = FieldError("claimed", path, path, "FieldValueForbidden", message)
            return (error,), ()
    return (), (f"{path}: {doubt}",) if doubt else ()


def _rivals(
    kind: Kind, field: str, new: Object, objects: Cache
) -> Iterator[tuple[Object, bool]]:
    """Find living objects with the same name there, and whether "there" is certain."""
    itself = _key(kind, new)
    for cluster, same_server in _same_servers(cluster_of(new), objects):
        for rival in objects.find(kind, "named", cluster, new["spec"][field]):
            if key_of(kind, rival) != itself and not is_deleting(rival):
                yield rival, same_server


def _key(kind: Kind, obj: Object) -> Key:
    """Return the key of an object, whose name may still have to be generated."""
    metadata = obj["metadata"]
    return Key(kind, metadata.get("namespace", ""), metadata.get("name", ""))


def _same_servers(name: str, objects: Cache) -> Iterator[tuple[str, bool]]:
    """Find the DatabaseClusters of the same server, and whether that is certain.

    A copy of a server has its identifier; two that answer have the same time of start
    only when they are one.
    """
    yield name, True
    own = objects.get(Key("DatabaseCluster", "", name))
    if own is None or not _server(own).get("systemIdentifier"):
        return
    for cluster in objects.all("DatabaseCluster"):
        other = cluster["metadata"]["name"]
        mine, theirs = _server(own), _server(cluster)
        if other == name or mine["systemIdentifier"] != theirs.get("systemIdentifier"):
            continue
        fresh = _is_available(own) and _is_available(cluster)
        started = mine.get("startedAt") == theirs.get("startedAt")
        if started or not fresh:
            yield other, started and fresh


def _server(cluster: Object) -> Mapping[str, Any]:
    server: Mapping[str, Any] = cluster.get("status", {}).get("server") or {}
    return server


def _is_available(cluster: Object) -> bool:
    return bool(condition(cluster, "Available").get("status") == "True")


def _owns(obj: Object) -> bool:
    """Tell whether the operator said that the name is this object's."""
    reason = condition(obj, "Ready").get("reason")
    return "oid" in obj.get("status", {}) and reason not in _LOST


def _tracked_by(obj: Object) -> frozenset[tuple[str, ...]]:
    """Return the releases that GitOps tools say an object is part of.

    Sources: Flux's Kustomization and HelmRelease (labels), Argo CD's "Resource
    Tracking" (its default annotation), Helm (annotations), Kubernetes' ApplySet.
    """
    metadata = obj["metadata"]
    said: Mapping[str, str] = {
        **(metadata.get("labels") or {}),
        **(metadata.get("annotations") or {}),
    }
    releases = {
        (keys[0], *(said[key] for key in keys))
        for keys in _TRACKING
        if all(said.get(key) for key in keys)
    }
    if application := said.get(_ARGO_CD, "").partition(":")[0]:
        releases.add((_ARGO_CD, application))
    return frozenset(releases)


def _is_readable(field: str, obj: Object) -> bool:
    """Tell whether what names an object is there; a stored one may have any fault."""
    spec = obj.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get(field), str):
        return False
    reference = spec.get("databaseClusterRef")
    return isinstance(reference, dict) and isinstance(reference.get("name"), str)


def _named(entries: object, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a list that have their list key."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            yield entry
