"""config/overlays/namespaced, with config/policy as a second wall beside it."""

import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    login,
    password_secret,
)
from tests.cluster.standins import problems
from tests.cluster.unguarded import without_admission
from tests.e2e import rights
from tests.e2e.conftest import Deployer
from tests.e2e.installation import Installation
from tests.e2e.job import connection_secret_moves, service_follows_the_server
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE

MANIFESTS = "config/overlays/namespaced"
TENANT = f"{MANIFESTS}/tenant"
POLICY = "config/policy"
# The one that the overlay names in --namespaces, and that TENANT is applied in.
CHOSEN = "default"
ELSEWHERE = "elsewhere"


@pytest.fixture(scope="module")
def installation(
    deployer: Deployer, cluster: DeployedCluster
) -> Iterator[Installation]:
    """The overlay, its role bound in one namespace, and the policy."""
    beside = [f"--kustomize={CHECKOUT / TENANT}", f"--kustomize={CHECKOUT / POLICY}"]
    deployer.clear()
    for source in beside:
        cluster.kubectl.run("apply", "--server-side", source)
    yield deployer.provide(MANIFESTS)
    # Before its rights are: without them it would ask in vain.
    deployer.clear()
    for source in beside:
        cluster.kubectl.run("delete", source)


@pytest.fixture(scope="module")
def kubectl(installation: Installation) -> Iterator[Kubectl]:
    """The administrator's kubectl, with a server to use in the chosen namespace."""
    cluster, kubectl = installation.cluster, installation.cluster.kubectl_in(CHOSEN)
    secret = dsn_secret("chosen", cluster.dsn)
    kubectl.apply(documents(secret, database_cluster("chosen")))
    kubectl.wait("databasecluster/chosen", "condition=Ready")
    yield kubectl
    kubectl.run("delete", "databasecluster/chosen", "--timeout=60s")


def test_main_job_is_done_where_the_role_is_bound(
    installation: Installation, kubectl: Kubectl
) -> None:
    cluster, password = installation.cluster, secrets.token_urlsafe()
    permissions = [{"database": "chosen", "privileges": ["CONNECT"]}]
    given = database_role(
        "given", "chosen", password={"name": "given"}, permissions=permissions
    )
    made = database_role(
        "made",
        "chosen",
        generatePassword=True,
        connectionSecret={"name": "made"},
        permissions=permissions,
    )
    kubectl.apply(
        documents(
            password_secret("given", password),
            database("chosen", "chosen", deletionPolicy="Delete"),
            given,
            made,
        )
    )
    targets = ("database/chosen", "databaserole/given", "databaserole/made")
    for target in targets:
        kubectl.wait(target, "condition=Ready", timeout=60)
    login(cluster, user="given", password=password, dbname="chosen").close()
    connection_secret_moves(kubectl, "made", old="made")
    service_follows_the_server(cluster)
    assert problems(cluster) == {}

    kubectl.run("delete", *targets, "--timeout=60s")
    assert on_the_server(cluster, "chosen", "given", "made") == set()


def test_object_elsewhere_says_what_is_missing_and_can_go(
    installation: Installation, kubectl: Kubectl
) -> None:
    installation.cluster.kubectl.run("create", "namespace", ELSEWHERE)
    elsewhere = installation.cluster.kubectl_in(ELSEWHERE)
    role = database_role("there", "chosen", password={"name": "there"})
    elsewhere.apply(documents(password_secret("there", secrets.token_urlsafe()), role))
    elsewhere.wait("databaserole/there", "condition=Ready=False", timeout=60)
    assert "add it to --namespaces" in ready_message(elsewhere, "there")
    kubectl.run("delete", "namespace", ELSEWHERE, "--timeout=60s")


@pytest.fixture
def mighty(installation: Installation) -> Iterator[tuple[str, ...]]:
    """Options of kubectl for somebody with every right, though no administrator."""
    kubectl = installation.cluster.kubectl
    every_right = ("--clusterrole=cluster-admin", "--user=mighty")
    kubectl.run("create", "clusterrolebinding", "mighty", *every_right)
    yield ("--as=mighty",)
    kubectl.run("delete", "clusterrolebinding", "mighty")


def test_policy_stands_and_the_operator_works_without_any_webhook(
    installation: Installation, kubectl: Kubectl, mighty: tuple[str, ...]
) -> None:
    cluster = installation.cluster
    twice = [{"database": "chosen", "privileges": ["CONNECT", "CONNECT"]}]
    with without_admission(kubectl):
        valid = database_role("valid", "chosen")
        invalid = database_role("invalid", "chosen", permissions=twice)
        kubectl.apply(documents(valid, invalid))
        kubectl.wait("databaserole/valid", "condition=Ready", timeout=60)
        kubectl.wait("databaserole/invalid", "condition=Ready=False", timeout=60)
        status = kubectl.get("databaserole/invalid")["status"]
        said = [one["message"] for one in status["grants"]["pending"]]
        assert any("must be listed once" in message for message in said), said

        def refusal(*args: str, text: str | None = None) -> str:
            return kubectl(*args, *mighty, input=text).stderr

        patch = ("patch", "databaserole", "valid", "--type=merge")
        assert "only the operator knows it" in refusal(
            *patch,
            "--subresource=status",
            '--patch={"status": {"observedGeneration": 7}}',
        )
        assert "pg-operator.dev/release=true" in refusal(
            *patch, '--patch={"metadata": {"finalizers": null}}'
        )
        assert "in a namespace of your own" in refusal(
            *("create", "--filename=-", f"--namespace={OPERATOR_NAMESPACE}"),
            text=documents(database_role("mine", "chosen")),
        )
        changed = refusal(*patch, '--patch={"spec": {"connectionLimit": 3}}')
        assert changed == ""
        kubectl.wait(
            "databaserole/valid", "jsonpath={.status.observedGeneration}=2", timeout=60
        )
        kubectl.run("delete", "databaserole/valid", "databaserole/invalid")
    assert on_the_server(cluster, "valid", "invalid") == set()


def test_every_right_in_the_chosen_namespace_was_used_and_no_other_asked_for(
    installation: Installation,
) -> None:
    """After all the others, which do the whole job."""
    cluster = installation.cluster
    manifests = cluster.rendered(MANIFESTS) + cluster.rendered(TENANT)
    granted = {
        right: accounts
        for right, accounts in rights.granted(manifests).items()
        if right.role == "pg-operator-tenants"
    }
    assert granted
    asked = cluster.requests(since=installation.since)
    there = [request for request in asked if request.namespace == CHOSEN]
    assert rights.unused(granted, there) == []
    assert rights.refused(asked) == []


def ready_message(kubectl: Kubectl, role: str) -> str:
    """Return what the Ready condition of a DatabaseRole says."""
    conditions = kubectl.get("databaserole", role)["status"]["conditions"]
    return next(str(one["message"]) for one in conditions if one["type"] == "Ready")


def on_the_server(cluster: DeployedCluster, *names: str) -> set[str]:
    """Return those of some names that a database or role on the server has."""
    query = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles"
    found = {name for (name,) in administer(cluster, "postgres", query)}
    return found & set(names)
