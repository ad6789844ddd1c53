"""Our webhook configurations: what they trust, and telling them what to trust."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.paths import configuration_path

CONFIGURATIONS: Final = (
    ("MutatingWebhookConfiguration", "pg-operator"),
    ("ValidatingWebhookConfiguration", "pg-operator"),
)

Json = dict[str, Any]


async def read_configurations(kubernetes: Kubernetes) -> list[Json]:
    """Return those of our webhook configurations that there are."""
    found = [
        await kubernetes.get(configuration_path(kind, name))
        for kind, name in CONFIGURATIONS
    ]
    return [one for one in found if one is not None]


def ca_bundles(configuration: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the PEM bundle that each webhook of a configuration trusts."""
    return {
        webhook["name"]: _decoded(webhook["clientConfig"].get("caBundle"))
        for webhook in configuration.get("webhooks") or ()
    }


async def publish_bundle(
    kubernetes: Kubernetes, configuration: Mapping[str, Any], bundle: bytes
) -> None:
    """Make every webhook of a configuration trust this PEM bundle.

    Nothing else of it is written, or claimed.

    Raises:
        Conflict: it is not as it was read.
    """
    text = base64.b64encode(bundle).decode()
    manifest = {
        "apiVersion": configuration["apiVersion"],
        "kind": configuration["kind"],
        "metadata": {"name": configuration["metadata"]["name"]},
        "webhooks": [
            {"name": name, "clientConfig": {"caBundle": text}}
            for name in ca_bundles(configuration)
        ],
    }
    await kubernetes.apply(manifest, over=configuration)


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except binascii.Error:
        return b""
