"""What admission says of an object beside the others that are stored. Pure.

Only one thing is refused: a name that a living object of another namespace holds. All
else may change before the object is worked on (GitOps tools try everything before they
apply anything, and prune last), so it is a warning, in the words of the condition that
the object would get.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pg_operator.api.errors import FieldError, Verdict
from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Key, Object, is_deleting, key_of
from pg_operator.reconcilers.progress import condition
from pg_operator.runtime.cache import Cache, cluster_of
from webhooks.references import (
    NAME_FIELDS,
    has_the_name,
    is_readable,
    key_to_be,
    warn_of_references,
)

_TRACKING: Final = (
    ("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
    ("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
    ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace"),
    ("applyset.kubernetes.io/part-of",),
)
# Its value begins with the application's name and a colon.
_ARGO_CD: Final = "argocd.argoproj.io/tracking-id"


def judge_claims(
    kind: Kind, new: Object, *, old: Object | None, objects: Cache
) -> Verdict:
    """Judge a valid document beside the stored ones, as a change of `old` if any.

    What could be said of `old`, too, is not said again.
    """
    if not is_readable(kind, new):
        return Verdict()
    warnings = list(warn_of_references(kind, new, objects))
    if old is not None:
        readable = is_readable(kind, old)
        known = set(warn_of_references(kind, old, objects) if readable else ())
        warnings = [text for text in warnings if text not in known]
        return Verdict(warnings=tuple(warnings))
    errors, doubts = _judge_name(kind, new, objects)
    return Verdict(errors, (*doubts, *warnings))


def _judge_name(
    kind: Kind, new: Object, objects: Cache
) -> tuple[tuple[FieldError, ...], tuple[str, ...]]:
    """Look whose the name is; nothing is told of objects of other namespaces."""
    field = NAME_FIELDS[kind]
    name, path = new["spec"][field], f"spec.{field}"
    noun = "database" if kind == "Database" else "role"
    place = f"{noun} '{name}' on DatabaseCluster '{cluster_of(new)}'"
    namespace = new["metadata"]["namespace"]
    doubt = ""
    for rival, same_server in _rivals(kind, name, new, objects):
        metadata = rival["metadata"]
        if metadata["namespace"] == namespace:
            # A change of metadata.name: the old object goes last.
            doubt = (
                f"{place} is already declared by {kind} '{metadata['name']}'; only one "
                "of the two can have it"
            )
        elif not has_the_name(rival) or not same_server:
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
    kind: Kind, name: str, new: Object, objects: Cache
) -> Iterator[tuple[Object, bool]]:
    """Find living objects with the same name there, and whether "there" is certain."""
    itself = key_to_be(kind, new)
    for cluster, same_server in _same_servers(cluster_of(new), objects):
        for rival in objects.named(kind, cluster, name):
            if key_of(kind, rival) != itself and not is_deleting(rival):
                yield rival, same_server


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
