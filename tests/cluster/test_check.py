"""`pg-operator check` on the bed, which is whole but for its Deployments."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.objects import connect_cluster, database_cluster, documents
from tests.cluster.standins import run_as_administrator
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG
from tests.localcluster.kubectl import Kubectl

ACCOUNT = "system:serviceaccount:pg-operator-system:pg-operator-controller"
CONTROLLER = f"rights of {ACCOUNT}"
Lines = dict[str, str]


@pytest.fixture
def check(cluster: LocalCluster) -> Callable[[], Lines]:
    """Run the command; return what it says of each subject that is not well."""

    def run() -> Lines:
        done = run_as_administrator(cluster, "check")
        assert done.returncode in {0, 1}, done.stderr
        verdicts = [line[:5].strip() for line in done.stdout.splitlines()]
        assert ("FAIL" in verdicts) == (done.returncode == 1)
        assert done.stdout.count("CRD of ") == 3
        failed = [line[5:] for line in done.stdout.splitlines() if line[:4] == "FAIL"]
        return dict(line.split(": ", 1) for line in failed)

    return run


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
    check: Callable[[], Lines], cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    assert set(check()) == {
        "Deployments",
        "Secret pg-operator-system/pg-operator-webhook-certificate",
    }


def test_check_names_the_server_that_cannot_be_reached(
    check: Callable[[], Lines], kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(documents(database_cluster(namespace)))
    kubectl.wait(f"databasecluster/{namespace}", "condition=Available=False")
    assert "SecretNotFound" in check()[f"DatabaseCluster {namespace}"]


def test_check_notices_a_webhook_that_does_not_answer(
    check: Callable[[], Lines], cluster: LocalCluster
) -> None:
    cluster.webhook.kill()
    try:
        assert "failed calling webhook" in check()["admission"]
    finally:
        cluster.webhook.start()
    assert "admission" not in check()


@pytest.mark.usefixtures("fewer_rights")
def test_check_names_the_rights_that_are_missing(
    check: Callable[[], Lines], cluster: LocalCluster
) -> None:
    said = check()[CONTROLLER]
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
