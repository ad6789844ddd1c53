"""The Service in front of a Database's server, and its EndpointSlices.

A DNS name becomes an ExternalName Service, addresses a headless one with slices of our
own. Only what carries our marks is ever written, and only when it differs.
"""

import contextlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pg_operator.api.specs import API_VERSION, GROUP
from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import Invalid, NamespaceTerminating

DEFAULT_PORT: Final = 5432
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OURS: Final = "pg-operator"
SERVICE_NAME: Final = "kubernetes.io/service-name"
SLICE_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
# Says whose a Service is where labels and owners may be lost: backups strip owners.
CLUSTER_ANNOTATION: Final = f"{GROUP}/database-cluster"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: the DSN's hosts, and the first one's port."""

    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class ServiceOwner:
    """A Database that declares the Service; without any the Service goes."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Whether the Service is as declared; the reason is a condition's."""

    ready: bool
    reason: Literal["Reconciled", "ServiceConflict", "ServiceUnsupported"]
    message: str


class Unservable(Exception):
    """No Service can stand for these hosts; says why and what to do."""


async def apply_service(
    kubernetes: Kubernetes,
    *,
    namespace: str,
    name: str,
    endpoint: Endpoint,
    owners: Sequence[ServiceOwner],
    cluster: str,
) -> ServiceStatus:
    """Make a Service lead to the server, shared by all its owners.

    Slices are there before a Service needs them, and go after it does not.
    """
    try:
        service = desired_service(
            namespace, name, endpoint, owners=owners, cluster=cluster
        )
    except Unservable as reason:
        return ServiceStatus(
            ready=False, reason="ServiceUnsupported", message=str(reason)
        )
    stored = await kubernetes.get(core_path("services", namespace, name))
    if stored is not None and not _is_ours(stored, cluster):
        return _foreign(name)
    slices = desired_slices(namespace, name, endpoint, owners=owners)
    try:
        # In a terminating namespace everything goes anyway.
        with contextlib.suppress(NamespaceTerminating):
            await _apply_slices(kubernetes, namespace, slices)
            if stored is None or not _covers(stored, service):
                await kubernetes.apply(service)
            await _remove_slices(kubernetes, namespace, name, keep=slices)
    except Invalid as error:
        message = f"the API server refuses Service '{name}': {error}"
        return ServiceStatus(ready=False, reason="ServiceUnsupported", message=message)
    return ServiceStatus(ready=True, reason="Reconciled", message=_note(name, endpoint))


async def remove_service(
    kubernetes: Kubernetes,
    *,
    namespace: str,
    name: str,
    owners: Sequence[ServiceOwner],
    cluster: str,
) -> None:
    """Let go of a Service that left a spec; it stays for its other `owners`.

    Raises:
        Conflict: it changed meanwhile; try again.
    """
    if owners:
        return  # each of them writes the Service with the owners that are left
    stored = await kubernetes.get(core_path("services", namespace, name))
    if stored is None or not _is_ours(stored, cluster):
        return
    await kubernetes.delete(stored)
    await _remove_slices(kubernetes, namespace, name, keep=())


def desired_service(
    namespace: str,
    name: str,
    endpoint: Endpoint,
    *,
    owners: Sequence[ServiceOwner],
    cluster: str,
) -> Manifest:
    """Return the Service for these hosts. Pure.

    Raises:
        Unservable: there is none.
    """
    addresses = _addresses(endpoint.hosts)
    if addresses:
        port = {
            "name": "postgresql",
            "port": endpoint.port,
            "targetPort": endpoint.port,
            "protocol": "TCP",
        }
        families = sorted({f"IPv{address.version}" for address in addresses})
        spec: Manifest = {"type": "ClusterIP", "clusterIP": "None", "ports": [port]}
        if families == ["IPv6"]:
            spec["ipFamilies"] = families
    else:
        spec = {"type": "ExternalName", "externalName": endpoint.hosts[0].rstrip(".")}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: OURS},
            "annotations": {CLUSTER_ANNOTATION: cluster},
            "ownerReferences": _owner_references(owners),
        },
        "spec": spec,
    }


def desired_slices(
    namespace: str, name: str, endpoint: Endpoint, *, owners: Sequence[ServiceOwner]
) -> tuple[Manifest, ...]:
    """Return one EndpointSlice for each address family of the hosts. Pure."""
    addresses = _addresses(endpoint.hosts)
    return tuple(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-ipv{version}",
                "namespace": namespace,
                "labels": {
                    MANAGED_BY: OURS,
                    SERVICE_NAME: name,
                    SLICE_MANAGED_BY: GROUP,
                },
                "ownerReferences": _owner_references(owners),
            },
            "addressType": f"IPv{version}",
            "endpoints": [
                {
                    "addresses": [
                        str(address)
                        for address in addresses
                        if address.version == version
                    ],
                    "conditions": {"ready": True},
                }
            ],
            "ports": [{"name": "postgresql", "port": endpoint.port, "protocol": "TCP"}],
        }
        for version in sorted({address.version for address in addresses})
    )


def _addresses(hosts: Sequence[str]) -> tuple[Address, ...]:
    """Return the hosts as addresses, or none when there is one DNS name."""
    addresses = [_address(host) for host in hosts]
    known = tuple(address for address in addresses if address is not None)
    names = [
        host for host, address in zip(hosts, addresses, strict=True) if not address
    ]
    if any(map(_is_inside, known)) or "localhost" in names:
        raise Unservable(
            "the DSN's host is a loopback, link-local or unspecified address, which "
            "leads nowhere from a Service; use an address that pods can reach"
        )
    if len(names) > 1 or (names and known):
        raise Unservable(
            "the DSN names several hosts and not only by address; a Service stands "
            "for one DNS name or for addresses"
        )
    return known


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_inside(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    )


def _owner_references(owners: Iterable[ServiceOwner]) -> list[Manifest]:
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "Database",
            "name": owner.name,
            "uid": owner.uid,
            "controller": False,
            "blockOwnerDeletion": False,
        }
        for owner in owners
    ]


def _is_ours(stored: Mapping[str, Any], cluster: str) -> bool:
    metadata = stored["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    return bool(
        labels.get(MANAGED_BY) == OURS
        and annotations.get(CLUSTER_ANNOTATION) == cluster
    )


def _foreign(name: str) -> ServiceStatus:
    message = (
        f"spec.databaseServiceName: Service '{name}' exists and is not of this "
        "DatabaseCluster's Databases; it is left as it is. Choose another name, or "
        "delete the Service"
    )
    return ServiceStatus(ready=False, reason="ServiceConflict", message=message)


def _note(name: str, endpoint: Endpoint) -> str:
    if endpoint.port == DEFAULT_PORT or _addresses(endpoint.hosts):
        return f"Service '{name}' leads to the server"
    return (
        f"Service '{name}' leads to the server; it is an alias of a DNS name and maps "
        f"no port, so clients must use port {endpoint.port}"
    )


async def _apply_slices(
    kubernetes: Kubernetes, namespace: str, slices: Sequence[Manifest]
) -> None:
    for manifest in slices:
        path = f"{SLICES.format(namespace)}/{manifest['metadata']['name']}"
        stored = await kubernetes.get(path)
        if stored is None or not _covers(stored, manifest):
            await kubernetes.apply(manifest)


async def _remove_slices(
    kubernetes: Kubernetes, namespace: str, name: str, *, keep: Sequence[Manifest]
) -> None:
    """Delete those slices of ours that the Service does not need any more."""
    kept = {manifest["metadata"]["name"] for manifest in keep}
    for version in (4, 6):
        slice_name = f"{name}-ipv{version}"
        if slice_name in kept:
            continue
        stored = await kubernetes.get(f"{SLICES.format(namespace)}/{slice_name}")
        labels = {} if stored is None else stored["metadata"].get("labels", {})
        if stored is not None and labels.get(SLICE_MANAGED_BY) == GROUP:
            await kubernetes.delete(stored)


def _covers(stored: object, wanted: object) -> bool:
    """Tell whether a stored value has all that is wanted; lists must be as long."""
    match stored, wanted:
        case Mapping(), Mapping():
            return all(
                name in stored and _covers(stored[name], value)
                for name, value in wanted.items()
            )
        case list(), list():
            # Owners are kept in the order they came in.
            pairs = zip(_by_uid(stored), _by_uid(wanted), strict=False)
            return len(stored) == len(wanted) and all(_covers(*pair) for pair in pairs)
    return stored == wanted


def _by_uid(entries: list[Any]) -> list[Any]:
    if all(isinstance(entry, Mapping) and "uid" in entry for entry in entries):
        return sorted(entries, key=lambda entry: str(entry["uid"]))
    return entries
