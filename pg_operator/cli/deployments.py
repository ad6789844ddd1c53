"""The Deployments of an installation, and what they start."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.paths import deployments_path

SELF_SIGNED: Final = "--certs=self"
_OURS: Final = "app.kubernetes.io/name=pg-operator"


async def read_deployments(
    kubernetes: Kubernetes, namespace: str
) -> list[dict[str, Any]]:
    """Return the Deployments of ours in a namespace. Raises KubernetesError."""
    found, _ = await kubernetes.list(deployments_path(namespace), labels=_OURS)
    return found


def arguments_of(deployment: Mapping[str, Any]) -> Sequence[str]:
    """Return what a Deployment tells the program."""
    pod = deployment["spec"]["template"]["spec"]
    arguments: Sequence[str] = pod["containers"][0]["args"]
    return arguments
