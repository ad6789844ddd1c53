"""config/default where something is missing: what goes on, and what says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.standins import problems
from tests.e2e.conftest import Deployer
from tests.e2e.installation import Installation
from tests.e2e.load import refusal
from tests.e2e.pods import certificate_of
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.deployed import DeployedCluster, install_crds
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import wait_until

MANIFESTS = "config/default"
SECRET = "pg-operator-webhook-certificate"
SUBJECT = f"Secret {OPERATOR_NAMESPACE}/{SECRET}"
WEBHOOK = "deployment/pg-operator-webhook"


@pytest.fixture
def alone(installation: Installation) -> Iterator[Installation]:
    """The installation while cert-manager stands still; it is whole at the end."""
    with installation.cluster.without_cert_manager():
        yield installation
    assert wait_until(lambda: problems(installation.cluster) == {}, timeout=60)


def test_check_names_the_webhook_that_is_scaled_to_nothing(
    installation: Installation,
) -> None:
    cluster = installation.cluster
    cluster.own.run("scale", WEBHOOK, "--replicas=0")
    assert wait_until(lambda: not cluster.pods("webhook"), timeout=60)
    try:
        found = problems(cluster)
    finally:
        cluster.own.run("scale", WEBHOOK, "--replicas=2")
        cluster.own.run("rollout", "status", WEBHOOK, "--timeout=60s")
    assert set(found) == {"Deployment pg-operator-webhook 0/0", "admission"}
    assert "scale it up" in found["Deployment pg-operator-webhook 0/0"]
    assert "failed calling webhook" in found["admission"]
    assert problems(cluster) == {}


def test_check_names_trust_that_was_wiped(alone: Installation) -> None:
    alone.wipe_trust()
    found = problems(alone.cluster)
    bundles = {subject for subject in found if subject.startswith("caBundle of ")}
    assert len(bundles) == 6
    assert {found[subject] for subject in bundles} == {"is empty"}
    assert set(found) == {*bundles, SUBJECT, "admission"}


def test_secret_that_is_deleted_is_missed_and_its_certificate_served_on(
    alone: Installation,
) -> None:
    cluster = alone.cluster
    served = {certificate_of(pod) for pod in cluster.pods("webhook")}
    cluster.own.run("delete", "secret", SECRET)
    assert set(problems(cluster)) == {SUBJECT}
    assert {certificate_of(pod) for pod in cluster.pods("webhook")} == served
    assert refusal(cluster.kubectl)


def test_installation_becomes_whole_when_cert_manager_comes(
    cluster: DeployedCluster, deployer: Deployer, tmp_path: Path
) -> None:
    # It has never seen cert-manager there.
    fresh = Kubectl(
        cluster.kubectl.program, kubeconfig=cluster.kubectl.kubeconfig, cache=tmp_path
    )
    deployer.clear()
    cluster.own.run("delete", "secret", SECRET)
    source = f"--kustomize={CHECKOUT / MANIFESTS}"
    with cluster.without_cert_manager():
        cluster.kubectl.run("delete", f"--filename={cluster.cert_manager_crds}")
        try:
            missing = fresh("apply", "--server-side", source)
        finally:
            install_crds(cluster.kubectl, cluster.cert_manager_crds)
        assert 'no matches for kind "Certificate"' in missing.stderr
        cluster.kubectl.run("apply", "--server-side", source)

        webhook = "Deployment pg-operator-webhook 0/2"
        assert wait_until(
            lambda: set(problems(cluster)) >= {webhook, SUBJECT, "admission"},
            timeout=60,
        )
        said = problems(cluster)
        assert "is cert-manager running?" in said[SUBJECT]
        assert refusal(cluster.kubectl) == ""
    deployer.provide(MANIFESTS)
    assert wait_until(lambda: problems(cluster) == {}, timeout=60)
    assert refusal(cluster.kubectl)
