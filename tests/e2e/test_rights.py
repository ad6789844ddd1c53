"""What all the other tests needed of the rights in config/; so these come last."""

from tests.e2e import rights
from tests.localcluster.deployed import DeployedCluster

MANIFESTS = (
    "config/default",
    "config/overlays/no-cert-manager",
    "config/overlays/all-in-one",
    "config/overlays/namespaced",
)


def test_every_right_was_used(cluster: DeployedCluster) -> None:
    documents = [one for path in MANIFESTS for one in cluster.rendered(path)]
    granted = rights.granted(documents)
    assert granted
    assert rights.unused(granted, cluster.requests()) == []


def test_nothing_was_forbidden(cluster: DeployedCluster) -> None:
    assert rights.refused(cluster.requests_while_installed()) == []
