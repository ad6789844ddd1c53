"""Objects held by an annotation: nothing is done for them, then all of it at once.

The resync, every 10 minutes, is far away: only the annotation's end can wake them.
"""

from typing import Any

import pytest

from tests.cluster.counts import counted_statements, wait_idle
from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl

ANNOTATION = "pg-operator.dev/reconcile"


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready."""
    connect_cluster(cluster, kubectl, namespace)
    return namespace


def held(obj: dict[str, Any], value: str) -> dict[str, Any]:
    """Annotate an object."""
    metadata = {**obj["metadata"], "annotations": {ANNOTATION: value}}
    return {**obj, "metadata": metadata}


def objects(namespace: str) -> list[dict[str, Any]]:
    """A Database with a Service, and a role with a Secret."""
    return [
        database(
            f"{namespace}-db", namespace, schema="app", databaseServiceName="shop-db"
        ),
        database_role(
            f"{namespace}-app",
            namespace,
            generatePassword=True,
            connectionSecret={"name": "shop-app", "database": f"{namespace}_db"},
        ),
    ]


def made(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> set[str]:
    """Return what there is of what the objects ask for."""
    names = f"LIKE '{namespace}\\_%'"
    rows = administer(
        cluster,
        "postgres",
        f"SELECT datname FROM pg_database WHERE datname {names}"
        f" UNION SELECT rolname FROM pg_roles WHERE rolname {names}",
    )
    found = kubectl.run(
        "get", "service/shop-db", "secret/shop-app", "--ignore-not-found", "-o=name"
    )
    return {name for (name,) in rows} | set(found.split())


@pytest.mark.parametrize("value", ["Paused", "Plan"])
def test_cluster_that_is_held_holds_everything_and_then_nothing(
    cluster: LocalCluster, kubectl: Kubectl, connected: str, value: str
) -> None:
    target = f"databasecluster/{connected}"
    kubectl.apply(documents(held(database_cluster(connected), value)))
    kubectl.wait(target, "condition=Paused")
    with counted_statements(cluster) as quiet:
        kubectl.apply(documents(*objects(connected)))
        for kind in ("databases", "databaseroles"):
            kubectl.wait(kind, "condition=Paused", "--all")
        wait_idle(cluster)
    assert (quiet.written, quiet.transaction_ids) == ({}, 0)
    assert made(cluster, kubectl, connected) == set()
    stored = kubectl.get("databases,databaseroles")["items"]
    for obj in stored:
        status = obj["status"]
        assert status["observedGeneration"] == obj["metadata"]["generation"]
        assert ("plan" in status) == (value == "Plan"), status

    kubectl.run("annotate", target, f"{ANNOTATION}-")
    for kind in ("databases", "databaseroles"):
        kubectl.wait(kind, "condition=Ready", "--all")
    assert made(cluster, kubectl, connected) == {
        f"{connected}_db",
        f"{connected}_app",
        "service/shop-db",
        "secret/shop-app",
    }
    wait_idle(cluster)
    for obj in kubectl.get("databases,databaseroles")["items"]:
        assert "plan" not in obj["status"]
        types = {condition["type"] for condition in obj["status"]["conditions"]}
        assert "Paused" not in types


def test_change_and_deletion_of_an_object_wait_while_it_is_paused(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    """A word that nobody knows counts as Paused."""
    name = f"{connected}-db"
    target = f"database/{name}"
    kubectl.apply(documents(database(name, connected, deletionPolicy="Delete")))
    kubectl.wait(target, "condition=Ready")
    kubectl.run("annotate", target, f"{ANNOTATION}=pasued")
    kubectl.wait(target, "condition=Paused")
    kubectl.wait(target, "condition=Ready")
    changed = database(name, connected, schema="app", deletionPolicy="Delete")
    kubectl.apply(documents(held(changed, "pasued")))
    kubectl.wait(target, "condition=Stalled")
    kubectl.run("delete", target, "--wait=false")
    wait_idle(cluster)
    assert made(cluster, kubectl, connected) == {f"{connected}_db"}
    kubectl.run("annotate", target, f"{ANNOTATION}-")
    kubectl.wait(target, "delete")
    assert made(cluster, kubectl, connected) == set()
