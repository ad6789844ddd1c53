"""`pg-operator check` on the bed, which is whole but for its Deployments."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.objects import connect_cluster, database_cluster, documents
from tests.cluster.standins import problems, run_as_administrator
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG
from tests.localcluster.kubectl import Kubectl

ACCOUNT = "system:serviceaccount:pg-operator-system:pg-operator-controller"
CONTROLLER = f"rights of {ACCOUNT}"


@pytest.fixture
def fewer_rights(cluster: LocalCluster) -> Iterator[None]:
    """Take from the controller the right to post Events."""
    path = "clusterrole/pg-operator-controller"
    rules = cluster.kubectl.get(path)["rules"]
    left = [rule for rule in rules if "events" not in rule["resources"]]
    patch = json.dumps({"rules": left})
    cluster.kubectl.run("patch", path, "--type=merge", f"--patch={patch}")
    yield
    directory = CONFIG / "rbac"
    cluster.kubectl.run(
        "apply", "--server-side", "--force-conflicts", f"--kustomize={directory}"
    )


def test_check_finds_the_bed_whole_but_for_what_it_lacks(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    assert set(problems(cluster)) == {
        "Deployments",
        "Secret pg-operator-system/pg-operator-webhook-certificate",
    }


def test_check_names_the_server_that_cannot_be_reached(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(documents(database_cluster(namespace)))
    kubectl.wait(f"databasecluster/{namespace}", "condition=Available=False")
    assert "SecretNotFound" in problems(cluster)[f"DatabaseCluster {namespace}"]


def test_check_notices_a_webhook_that_does_not_answer(cluster: LocalCluster) -> None:
    cluster.webhook.kill()
    try:
        assert "failed calling webhook" in problems(cluster)["admission"]
    finally:
        cluster.webhook.start()
    assert "admission" not in problems(cluster)


@pytest.mark.usefixtures("fewer_rights")
def test_check_names_the_rights_that_are_missing(cluster: LocalCluster) -> None:
    said = problems(cluster)[CONTROLLER]
    assert said == "apply the manifests again; missing: create events, patch events"


def test_check_tells_what_it_found_good(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    said = run_as_administrator(cluster, "check").stdout.splitlines()
    version = kubectl.get(f"databasecluster/{namespace}")["status"]["server"]["version"]
    assert f"ok   DatabaseCluster {namespace}: PostgreSQL {version}" in said
    assert "ok   admission: answered by the webhook" in said
    webhook = "system:serviceaccount:pg-operator-system:pg-operator-webhook"
    assert f"ok   rights of {webhook}" in said
    bundles = [line for line in said if line.startswith("ok   caBundle of ")]
    assert len(bundles) == 6
