"""What can stand for a server in a namespace: its Service and EndpointSlices. Pure."""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pg_operator.api.specs import API_VERSION, GROUP
from pg_operator.kube.client import MANAGED_BY
from pg_operator.kube.paths import SLICES_API

DEFAULT_PORT: Final = 5432

# Whose a Service is must survive backups, which strip owners and uids. It names the
# Service as well, so that a copy of it under another name is not ours.
SERVICE_OF: Final = f"{GROUP}/service-of"
SERVICE_NAME: Final = "kubernetes.io/service-name"
SLICE_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
LABELS: Final = (*MANAGED_BY, SLICE_MANAGED_BY, SERVICE_NAME)
EMPTY: Final[Mapping[str, str]] = MappingProxyType({})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: the hosts as its DSN has them, and their port."""

    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class ServiceOwner:
    """A Database that declares the Service; with the last of them the Service goes."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A Service, and the DatabaseCluster that it is made for."""

    namespace: str
    name: str
    cluster: str

    @property
    def slice_names(self) -> Mapping[int, str]:
        """The name of its EndpointSlice for each IP version."""
        return {version: f"{self.name}-ipv{version}" for version in (4, 6)}

    def owns(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether a stored Service or EndpointSlice is of this Service."""
        annotations = stored["metadata"].get("annotations") or {}
        return is_ours(stored) and annotations.get(SERVICE_OF) == self._mark

    def metadata(
        self,
        owners: Sequence[ServiceOwner],
        *,
        name: str,
        labels: Mapping[str, str] = EMPTY,
    ) -> Manifest:
        """Return the metadata of the Service or of one of its EndpointSlices."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": {**MANAGED_BY, **labels},
            "annotations": {SERVICE_OF: self._mark},
            "ownerReferences": owner_references(owners),
        }

    @property
    def _mark(self) -> str:
        return f"DatabaseCluster/{self.cluster} Service/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be stored for a server."""

    service: Manifest
    slices: tuple[Manifest, ...]


class Unservable(Exception):
    """No Service can lead there; says why and what to do, and names no host."""


def desired_endpoints(
    identity: Identity, endpoint: Endpoint, *, owners: Sequence[ServiceOwner]
) -> Desired:
    """Return an ExternalName Service for a DNS name, a headless one for addresses.

    A headless one has no pods to select, so its addresses stand in EndpointSlices, one
    for each address family.

    Raises:
        Unservable: neither can be.
    """
    hosts = tuple(dict.fromkeys(_read_host(host) for host in endpoint.hosts))
    names = [host for host in hosts if isinstance(host, str)]
    addresses = [host for host in hosts if not isinstance(host, str)]
    if names and len(hosts) > 1:
        raise Unservable(
            "the DSN names several hosts and not all by address, and a Service can "
            "stand for one DNS name or for addresses only; leave databaseServiceName "
            "out and connect to the hosts directly"
        )
    port = {"name": "postgresql", "port": endpoint.port, "protocol": "TCP"}
    spec: Manifest = (
        {"type": "ExternalName", "externalName": names[0]}
        if names
        else {"type": "ClusterIP", "clusterIP": "None"}
    )
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": identity.metadata(owners, name=identity.name),
        "spec": {**spec, "ports": [{**port, "targetPort": endpoint.port}]},
    }
    labels = {SLICE_MANAGED_BY: GROUP, SERVICE_NAME: identity.name}
    slices = tuple(
        {
            "apiVersion": SLICES_API,
            "kind": "EndpointSlice",
            "metadata": identity.metadata(owners, name=name, labels=labels),
            "addressType": f"IPv{version}",
            "endpoints": [
                {"addresses": [str(address)], "conditions": {"ready": True}}
                for address in addresses
                if address.version == version
            ],
            "ports": [port],
        }
        for version, name in identity.slice_names.items()
        if any(address.version == version for address in addresses)
    )
    return Desired(service, slices)


def is_ours(stored: Mapping[str, Any]) -> bool:
    """Tell whether a stored object says that the operator made it."""
    labels = stored["metadata"].get("labels") or {}
    return bool(labels.items() >= MANAGED_BY.items())


def owner_references(owners: Sequence[ServiceOwner]) -> list[Manifest]:
    """Return the references that let the garbage collector follow the Databases."""
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "Database",
            "name": owner.name,
            "uid": owner.uid,
            "blockOwnerDeletion": False,
        }
        for owner in owners
    ]


def port_hint(service: Manifest) -> str:
    """Say what a user of the Service has to know, if anything."""
    port = service["spec"]["ports"][0]["port"]
    if service["spec"]["type"] != "ExternalName" or port == DEFAULT_PORT:
        return ""
    return (
        f"Service '{service['metadata']['name']}' is an alias of a DNS name and maps "
        f"no port; connect to port {port}"
    )


def _read_host(host: str) -> str | Address:
    """Return an address, or a DNS name that means the same in every namespace.

    Raises:
        Unservable: it leads to each pod itself, or nowhere.
    """
    if not host or host.startswith(("/", "@")):
        raise Unservable(
            "the DSN's host is a unix socket, which pods do not share; name a host"
        )
    address = _read_address(host)
    if address is not None:
        if (
            address.is_loopback
            or address.is_link_local
            or address.is_unspecified
            or address.is_multicast
        ):
            raise Unservable(
                "the DSN's host is a loopback, link-local, multicast or unspecified "
                "address, to which no Service can lead; use an address that pods reach"
            )
        return address
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        raise Unservable(
            "the DSN's host is localhost, which is another machine for every pod; use "
            "an address that pods reach"
        )
    if "." not in name or name.endswith(".svc"):
        raise Unservable(
            "the DSN's host is a short name that only the operator's own pod can be "
            "sure to resolve; write the whole DNS name, such as "
            "'postgres.database.svc.cluster.local'"
        )
    return name


def _read_address(host: str) -> Address | None:
    """Return the address that `host` spells, one packed into IPv6 unpacked."""
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            # libpq reads 127.1, 2130706433 and 0x7f.1 as addresses, too.
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
