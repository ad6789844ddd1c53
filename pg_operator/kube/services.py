"""Keeps the Service of Databases and its EndpointSlices as desired.

Everything is read first: what is as desired is not written, and what is not ours is
left alone. Every write is held to what was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.endpoints import (
    SERVICE_NAME,
    SLICE_MANAGED_BY,
    Desired,
    Endpoint,
    Identity,
    Manifest,
    ServiceOwner,
    Unservable,
    desired_endpoints,
    owner_references,
    port_hint,
)
from pg_operator.kube.errors import Invalid, NamespaceTerminating, NotFound
from pg_operator.kube.paths import slices_path
from pg_operator.kube.transport import FIELD_MANAGER

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
_SERVICE_FIELDS: Final = ("type", "externalName", "clusterIP", "ports")

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
    stored = await kubernetes.read_core("services", namespace, name)
    if stored is not None and not identity.owns(stored):
        return _conflict(identity, stored)
    slices = await _read_slices(kubernetes, namespace, name)
    try:
        changed = await _apply(kubernetes, desired, service=stored, slices=slices)
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
    try:
        service = await kubernetes.read_core("services", namespace, name)
        if service is not None and not Identity(namespace, name, cluster).owns(service):
            return
        slices = await _read_slices(kubernetes, namespace, name)
    except NotFound:
        return
    stored = [*([] if service is None else [service]), *slices.values()]
    for obj in stored:
        if not owners:
            await kubernetes.delete(obj)
        elif differs(manifest := _with_owners(obj, owners), obj):
            await kubernetes.apply(manifest, over=obj)


def differs(desired: Manifest, stored: Object | None) -> bool:
    """Tell whether applying would change a stored object. Pure.

    It would where a desired value is not there, or an owner of ours is not desired.
    """
    if stored is None:
        return True
    wanted = desired["metadata"]["ownerReferences"]
    metadata = {**desired["metadata"], "ownerReferences": None}
    kept = {reference["uid"]: reference for reference in _references(stored)}
    return (
        any(
            not _includes(kept.get(reference["uid"]), reference) for reference in wanted
        )
        or bool(_applied_owners(stored) - {reference["uid"] for reference in wanted})
        or not all(
            _includes(stored["metadata"].get(name), value)
            for name, value in metadata.items()
            if value is not None
        )
        or not all(
            _includes(stored.get(name), value)
            for name, value in desired.items()
            if name != "metadata"
        )
    )


async def _apply(
    kubernetes: Kubernetes,
    desired: Desired,
    *,
    service: Object | None,
    slices: Mapping[str, Object],
) -> bool:
    """Write what differs, and tell whether anything did."""
    stored: dict[str, Object | None] = dict(slices)
    writes = [
        (manifest, stored.pop(manifest["metadata"]["name"], None))
        for manifest in desired.slices
    ]
    writes.append((desired.service, service))
    changed = False
    for manifest, over in writes:
        if differs(manifest, over):
            await kubernetes.apply(manifest, over=over)
            changed = True
    for left in stored.values():
        if left is not None:
            await kubernetes.delete(left)
            changed = True
    return changed


async def _read_slices(
    kubernetes: Kubernetes, namespace: str, name: str
) -> dict[str, Object]:
    """Return a Service's EndpointSlices that are ours, by name."""
    wanted = {**SLICE_MANAGED_BY, SERVICE_NAME: name}
    labels = ",".join(f"{label}={value}" for label, value in wanted.items())
    slices, _ = await kubernetes.list(slices_path(namespace), labels=labels)
    return {
        stored["metadata"]["name"]: stored
        for stored in slices
        if Identity.claims(stored)
    }


def _with_owners(stored: Object, owners: Sequence[ServiceOwner]) -> Manifest:
    """Return what we wrote of a stored object, with other owners."""
    manifest = {name: stored[name] for name in _FIELDS[stored["kind"]]}
    if stored["kind"] == "Service":
        spec = stored["spec"]
        manifest["spec"] = {key: spec[key] for key in _SERVICE_FIELDS if key in spec}
    metadata = stored["metadata"]
    manifest["metadata"] = {
        key: metadata[key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in metadata
    } | {"ownerReferences": owner_references(owners)}
    return manifest


def _references(stored: Object) -> list[Manifest]:
    return list(stored["metadata"].get("ownerReferences") or ())


def _applied_owners(stored: Object) -> set[str]:
    """Return the uids of the owner references that only our next apply can remove."""
    uids = {reference["uid"] for reference in _references(stored)}
    applied: Mapping[str, Any] = {}
    for entry in stored["metadata"].get("managedFields") or ():
        if entry["manager"] == FIELD_MANAGER and entry["operation"] == "Apply":
            metadata = entry["fieldsV1"].get("f:metadata") or {}
            applied = metadata.get("f:ownerReferences") or {}
    return {uid for uid in uids if f'k:{{"uid":"{uid}"}}' in applied}


def _includes(stored: object, wanted: object) -> bool:
    """Tell whether a stored value has all that is wanted; lists must be as long."""
    if isinstance(wanted, Mapping):
        return isinstance(stored, Mapping) and all(
            _includes(stored.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(stored, list)
            and len(stored) == len(wanted)
            and all(map(_includes, stored, wanted))
        )
    return stored == wanted


def _conflict(identity: Identity, stored: Object) -> ServiceStatus:
    whose = (
        "was made by pg-operator for something else"
        if identity.claims(stored)
        else "exists and was not made by pg-operator"
    )
    message = (
        f"spec.databaseServiceName: Service '{identity.name}' {whose}, so it is left "
        "as it is; choose another name, or delete that Service"
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
