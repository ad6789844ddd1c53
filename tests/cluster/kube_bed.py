"""The Kubernetes adapter beside the operator, with the controller's own rights."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.services import ServiceOwner
from tests.cluster.objects import database, documents
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.faults import Wire
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import Identity


@asynccontextmanager
async def connected(
    cluster: LocalCluster, identity: Identity | None = None
) -> AsyncIterator[Kubernetes]:
    """Connect as the controller, or as somebody else."""
    plane = cluster.control_plane
    kubeconfig = plane.operator_kubeconfig(identity or plane.controller)
    async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
        yield kubernetes


def make_owner(kubectl: Kubectl, namespace: str, suffix: str) -> ServiceOwner:
    """Make a Database, whose DatabaseCluster is missing: the operator leaves it be.

    The garbage collector deletes what only owners that do not exist own.
    """
    name = f"{namespace}-{suffix}"
    kubectl.apply(documents(database(name, f"{namespace}-missing")))
    return ServiceOwner(name, kubectl.get("database", name)["metadata"]["uid"])


@asynccontextmanager
async def connected_by_wire(
    cluster: LocalCluster, directory: Path
) -> AsyncIterator[tuple[Kubernetes, Wire]]:
    """Connect as the controller over a wire that can be cut."""
    plane = cluster.control_plane
    target = urlsplit(plane.url)
    assert target.hostname is not None
    assert target.port is not None
    async with Wire(target.hostname, target.port).laid() as wire:
        text = plane.operator_kubeconfig(plane.controller).read_text(encoding="utf-8")
        assert plane.url in text
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(
            text.replace(plane.url, f"https://{wire.address}"), encoding="utf-8"
        )
        async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
            yield kubernetes, wire
