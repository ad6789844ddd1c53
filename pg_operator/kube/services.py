"""Keeps the Service of Databases and its EndpointSlices as desired.

Everything is read first: what is as desired is not written, and what is not ours is
left alone. Every write is held to what was read.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.differences import differs
from pg_operator.kube.endpoints import (
    LABELS,
    SERVICE_OF,
    Desired,
    Endpoint,
    Identity,
    Manifest,
    ServiceOwner,
    Unservable,
    desired_endpoints,
    is_ours,
    owner_references,
    port_hint,
)
from pg_operator.kube.errors import Conflict, Invalid, NamespaceTerminating
from pg_operator.kube.paths import ImpossibleName, slice_path

__all__ = [
    "Endpoint",
    "ServiceOwner",
    "ServiceStatus",
    "apply_service",
    "remove_service",
]

# The fields of ours beside the metadata, by kind.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Service": ("apiVersion", "kind", "spec"),
    "EndpointSlice": ("apiVersion", "kind", "addressType", "endpoints", "ports"),
}
# Each of three objects can be written by somebody else first; more is no accident.
MOST_CONFLICTS: Final = 4
_SPEC: Final = ("type", "externalName", "clusterIP", "ports")

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Whether the Service is as declared.

    `reason` is a condition's; `message` says what to do when it is not ready, and what
    its users have to know when it is. `changed` tells whether anything was written.
    """

    ready: bool
    reason: Literal["Reconciled", "ServiceConflict", "ServiceUnsupported"]
    message: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What is stored by the names that a Service and its slices have."""

    ours: dict[tuple[str, str], Object] = field(default_factory=dict)
    foreign: list[Object] = field(default_factory=list)


class _Foreign(Exception):
    """An object of that name is not ours."""

    def __init__(self, stored: Object) -> None:
        super().__init__()
        self.stored = stored


async def apply_service(
    kubernetes: Kubernetes,
    *,
    namespace: str,
    name: str,
    endpoint: Endpoint,
    owners: Sequence[ServiceOwner],
    cluster: str,
) -> ServiceStatus:
    """Make a Service lead to a DatabaseCluster's server, for all its `owners`.

    EndpointSlices are there before the Service needs them, and go when it does not any
    more. One that cannot be as declared is left as it is, and so is one in a namespace
    that is being deleted, where all goes anyway.

    Raises:
        KubernetesError: the API server does not let it; Conflict when somebody else
            wrote meanwhile.
    """
    identity = Identity(namespace, name, cluster)
    try:
        desired = desired_endpoints(identity, endpoint, owners=owners)
    except Unservable as reason:
        return _unsupported(f"spec.databaseServiceName: {reason}")
    try:
        changed = await _apply(kubernetes, identity, desired)
    except _Foreign as foreign:
        return _conflict(foreign.stored)
    except NamespaceTerminating:
        changed = False
    except Invalid as error:
        return _refused(name, error)
    return ServiceStatus(
        ready=True,
        reason="Reconciled",
        message=port_hint(desired.service),
        changed=changed,
    )


async def remove_service(
    kubernetes: Kubernetes,
    *,
    namespace: str,
    name: str,
    owners: Sequence[ServiceOwner],
    cluster: str,
) -> None:
    """Let go of a Service that left a spec; for the `owners` that are left it stays.

    Only one that was made for this DatabaseCluster is touched.

    Raises:
        KubernetesError: the API server does not let it; Conflict when somebody else
            wrote meanwhile.
    """
    identity = Identity(namespace, name, cluster)
    try:
        found = await _find(kubernetes, identity)
    except ImpossibleName:
        return
    if any(foreign["kind"] == "Service" for foreign in found.foreign):
        return
    for obj in found.ours.values():
        if not owners:
            await kubernetes.delete(obj)
        elif differs(manifest := _with_owners(obj, owners), obj):
            await kubernetes.apply(manifest, over=obj)


async def _apply(kubernetes: Kubernetes, identity: Identity, desired: Desired) -> bool:
    """Write what differs, and tell whether anything did.

    Raises:
        _Foreign: what is there is not ours.
        Conflict: it is written faster than it can be read.
    """
    for _ in range(MOST_CONFLICTS):
        # Another Database that shares it was quicker: perhaps nothing is left to do.
        with suppress(Conflict):
            return await _apply_once(kubernetes, identity, desired)
    return await _apply_once(kubernetes, identity, desired)


async def _apply_once(
    kubernetes: Kubernetes, identity: Identity, desired: Desired
) -> bool:
    found = await _find(kubernetes, identity)
    if found.foreign:
        raise _Foreign(found.foreign[0])
    changed = False
    for manifest in (*desired.slices, desired.service):
        over = found.ours.pop(_name(manifest), None)
        if differs(manifest, over):
            await kubernetes.apply(manifest, over=over)
            changed = True
    for left in found.ours.values():
        await kubernetes.delete(left)
        changed = True
    return changed


async def _find(kubernetes: Kubernetes, identity: Identity) -> _Found:
    """Read what there is of a Service and its slices.

    Raises:
        ImpossibleName: there can be no such Service.
    """
    namespace = identity.namespace
    slices = [slice_path(namespace, name) for name in identity.slice_names.values()]
    paths = [core_path("services", namespace, identity.name), *slices]
    found = _Found()
    for path in paths:
        obj = await kubernetes.get(path)
        if obj is not None and identity.owns(obj):
            found.ours[_name(obj)] = obj
        elif obj is not None:
            found.foreign.append(obj)
    return found


def _name(obj: Object) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]


def _with_owners(stored: Object, owners: Sequence[ServiceOwner]) -> Manifest:
    """Return what we wrote of a stored object, with other owners."""
    manifest = {name: stored[name] for name in _FIELDS[stored["kind"]]}
    if "spec" in manifest:
        manifest["spec"] = _pick(stored["spec"], _SPEC)
    metadata = stored["metadata"]
    manifest["metadata"] = {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "labels": _pick(metadata["labels"], LABELS),
        "annotations": _pick(metadata.get("annotations") or {}, (SERVICE_OF,)),
        "ownerReferences": owner_references(owners),
    }
    return manifest


def _pick(values: Mapping[str, Any], names: Iterable[str]) -> Manifest:
    return {name: values[name] for name in names if name in values}


def _conflict(stored: Object) -> ServiceStatus:
    kind, name = _name(stored)
    whose = (
        "was made by pg-operator for something else"
        if is_ours(stored)
        else "exists and was not made by pg-operator"
    )
    message = (
        f"spec.databaseServiceName: {kind} '{name}' {whose}, so it is left as it is; "
        f"choose another name, or delete that {kind}"
    )
    return ServiceStatus(ready=False, reason="ServiceConflict", message=message)


def _unsupported(message: str) -> ServiceStatus:
    return ServiceStatus(ready=False, reason="ServiceUnsupported", message=message)


def _refused(name: str, error: Invalid) -> ServiceStatus:
    """Name the fields the API server objects to; its own text quotes the host."""
    fields = ", ".join(error.fields) or "see the controller's log"
    return _unsupported(
        f"spec.databaseServiceName: the API server refuses a Service '{name}' for the "
        f"DSN's host ({fields}); choose another name, or connect directly"
    )
