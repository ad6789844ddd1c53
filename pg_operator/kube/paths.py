"""Where the API server keeps things. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pg_operator.api.specs import API_VERSION, GROUP, PLURALS, Kind
from pg_operator.kube.errors import Invalid

SLICES_API: Final = "discovery.k8s.io/v1"
AUTHORIZATION_API: Final = "authorization.k8s.io/v1"
LEASES_API: Final = "coordination.k8s.io/v1"
ADMISSION_API: Final = "admissionregistration.k8s.io/v1"

_PLURALS: Final[Mapping[str, str]] = {
    **{str(kind): plural for kind, plural in PLURALS.items()},
    "Secret": "secrets",
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}
# RFC 1123 subdomains, nearly: what keeps a name one segment of a path.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class ImpossibleName(Invalid):
    """No object can have that name, so there is none, and none can be made."""


def core_path(plural: str, namespace: str = "", name: str = "") -> str:
    """Return the path of an object of Kubernetes' core, or of its collection.

    Raises:
        ImpossibleName: nothing can be called so.
    """
    return _path("v1", plural, namespace, name)


def object_path(kind: Kind, namespace: str, name: str = "") -> str:
    """Return the path of an object of ours, or of its collection.

    Raises:
        ImpossibleName: nothing can be called so.
    """
    return _path(API_VERSION, PLURALS[kind], namespace, name)


def slice_path(namespace: str, name: str) -> str:
    """Return the path of an EndpointSlice.

    Raises:
        ImpossibleName: nothing can be called so.
    """
    return _path(SLICES_API, "endpointslices", namespace, name)


def crd_path(kind: Kind) -> str:
    """Return the path of the CRD of a kind of ours."""
    name = f"{PLURALS[kind]}.{GROUP}"
    return _path("apiextensions.k8s.io/v1", "customresourcedefinitions", "", name)


def deployments_path(namespace: str) -> str:
    """Return the path of a namespace's Deployments."""
    return _path("apps/v1", "deployments", namespace, "")


def lease_path(namespace: str, name: str = "") -> str:
    """Return the path of a Lease, or of a namespace's Leases.

    Raises:
        ImpossibleName: nothing can be called so.
    """
    return _path(LEASES_API, "leases", namespace, name)


def configuration_path(kind: str, name: str) -> str:
    """Return the path of a webhook configuration of one of its two kinds."""
    return _path(ADMISSION_API, _PLURALS[kind], "", name)


def path_of(obj: Mapping[str, Any]) -> str:
    """Return the path of an object by what it says of itself.

    Raises:
        ImpossibleName: nothing can be called so.
    """
    metadata = obj["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    return _path(obj["apiVersion"], _PLURALS[obj["kind"]], namespace, name)


def _path(api_version: str, plural: str, namespace: str, name: str) -> str:
    root = "apis" if "/" in api_version else "api"
    scope = ("namespaces", _checked(namespace)) if namespace else ()
    rest = (_checked(name),) if name else ()
    return "/".join(("", root, api_version, *scope, plural, *rest))


def _checked(name: str) -> str:
    """Keep what a spec says from becoming another path, such as `..`."""
    if not _NAME.fullmatch(name):
        raise ImpossibleName(
            f"nothing can be called {name!r}", fields=("metadata.name",)
        )
    return name
