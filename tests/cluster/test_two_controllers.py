"""Two controllers of one Kubernetes cluster by mistake, with no election between."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.cluster.counts import counted_statements, reconciles, wait_idle
from tests.cluster.items import create_items, delete_items, make_items, wait_ready
from tests.cluster.objects import (
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.cluster.standing import (
    closed_databases,
    databases,
    is_as_declared,
    names,
    roles,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.probes import wait_until

PATIENCE = 100
ITEMS = 6
ROLES = ITEMS + 1


@pytest.fixture
def twin(cluster: LocalCluster) -> Iterator[OperatorProcess]:
    """A second controller beside the bed's own."""
    twin = cluster.add_controller("controller-twin")
    try:
        yield twin
    finally:
        twin.stop()


def test_two_controllers_that_know_nothing_of_each_other_do_no_harm(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, twin: OperatorProcess
) -> None:
    kubectl.apply(
        documents(
            dsn_secret(namespace, cluster.postgres.admin_dsn),
            database_cluster(namespace, resyncInterval="5s"),
        )
    )
    kubectl.wait(f"databasecluster/{namespace}", "condition=Ready")
    items = make_items(namespace, ITEMS)
    create_items(kubectl, items, cluster=namespace)
    generated = database_role(
        f"{namespace}-generated",
        namespace,
        generatePassword=True,
        connectionSecret={"name": "generated", "database": "postgres"},
        deletionPolicy="Delete",
    )
    kubectl.apply(documents(generated))
    wait_ready(kubectl, timeout=PATIENCE)
    everything = names(items) | {f"{namespace}_generated"}
    assert [item.name for item in items if not is_as_declared(cluster, item)] == []
    assert databases(cluster, namespace) == names(items)
    assert closed_databases(cluster, namespace) == set()
    assert roles(cluster, namespace) == everything
    uri = kubectl.run(
        "get", "secret", "generated", "--template={{.data.uri | base64decode}}"
    )
    psycopg.connect(uri, hostaddr="127.0.0.1").close()

    wait_idle(cluster)
    mark = cluster.audit_mark()
    with counted_statements(cluster) as statements:
        for process in (twin, cluster.controller):
            wait_resynced(cluster, process)
    written = [
        request
        for request in cluster.requests_since(mark, user=user_of(cluster))
        if request.writes
    ]
    assert (statements.written, statements.transaction_ids) == ({}, 0)
    assert written == [], "they undo what the other did"

    changed = [replace(item, password=f"canary-2-{item.password}") for item in items]
    kubectl.apply(
        documents(*(obj for item in changed for obj in item.objects(namespace)))
    )
    assert wait_until(
        lambda: all(is_as_declared(cluster, item) for item in changed), timeout=PATIENCE
    )
    wait_ready(kubectl, timeout=PATIENCE)

    delete_items(kubectl, timeout=PATIENCE)
    assert databases(cluster, namespace) | roles(cluster, namespace) == set()


def wait_resynced(bed: LocalCluster, process: OperatorProcess) -> None:
    """Wait until a controller has looked at as many roles as there may be again."""
    own, bed.controller = bed.controller, process
    try:
        before = reconciles(bed)["databaserole"]
        assert wait_until(
            lambda: reconciles(bed)["databaserole"] >= before + ROLES, timeout=PATIENCE
        )
        wait_idle(bed)
    finally:
        bed.controller = own


def user_of(bed: LocalCluster) -> str:
    """Return the name that both have for the API server."""
    return bed.control_plane.controller.user
