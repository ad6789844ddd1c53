"""What work costs: each change one write, and nothing at all when nothing changed."""

import pytest

from tests.cluster.counts import (
    counted_statements,
    counted_writes,
    reconciles,
    wait_idle,
)
from tests.cluster.items import (
    SCHEMA,
    create_items,
    delete_items,
    make_items,
    wait_ready,
)
from tests.cluster.objects import (
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

RESYNC_SECONDS = 5


def test_databasecluster_costs_one_write_a_change(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    secret = dsn_secret(namespace, cluster.postgres.admin_dsn)
    target = f"databasecluster/{namespace}"

    with counted_writes(cluster) as created:
        kubectl.apply(documents(secret, database_cluster(namespace)))
        kubectl.wait(target, "condition=Ready")
    with counted_writes(cluster) as updated:
        kubectl.apply(documents(database_cluster(namespace, maxConnections=3)))
        kubectl.wait(target, "jsonpath={.status.observedGeneration}=2")
    with counted_writes(cluster) as deleted:
        kubectl.run("delete", target)

    assert created.objects == {"patch databaseclusters/status": 1}
    assert created.events <= 1
    assert updated.objects == {"patch databaseclusters/status": 1}
    assert updated.events == 0
    assert deleted.objects == {"patch databaseclusters": 1}


def test_database_costs_one_write_a_change(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    target = f"database/{namespace}"
    spec = {"schema": SCHEMA, "deletionPolicy": "Delete"}

    with counted_writes(cluster) as created:
        kubectl.apply(documents(database(namespace, namespace, **spec)))
        kubectl.wait(target, "condition=Ready")
    with counted_writes(cluster) as updated:
        more = {**spec, "timezone": "Europe/Berlin"}
        kubectl.apply(documents(database(namespace, namespace, **more)))
        kubectl.wait(target, "jsonpath={.status.observedGeneration}=2")
    with counted_writes(cluster) as deleted:
        kubectl.run("delete", target)

    assert created.objects == {"patch databases/status": 1}
    assert created.events <= 1
    assert updated.objects == {"patch databases/status": 1}
    assert deleted.objects == {"patch databases": 1}


def test_service_of_a_database_costs_one_write_more(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    obj = database(namespace, namespace, databaseServiceName="orders-db")

    with counted_writes(cluster) as created:
        kubectl.apply(documents(obj))
        kubectl.wait(f"database/{namespace}", "condition=Ready")

    service = {"patch services": 1}
    assert created.objects == {"patch databases/status": 1, **service}
    assert created.events <= 1


def test_role_costs_one_write_a_change(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(database(namespace, namespace, schema=SCHEMA)))
    kubectl.wait(f"database/{namespace}", "condition=Ready")
    target, reference = f"databaserole/{namespace}", {"name": namespace}
    permission = {"database": namespace, "privileges": ["CONNECT"]}
    role = {"password": reference, "permissions": [permission]}
    schema = {"name": SCHEMA, "privileges": ["USAGE"]}
    more = {**role, "permissions": [{**permission, "schemas": [schema]}]}
    secret = password_secret(namespace, "old-pa55word")

    with counted_writes(cluster) as created:
        kubectl.apply(documents(secret, database_role(namespace, namespace, **role)))
        kubectl.wait(target, "condition=Ready")
    with counted_writes(cluster) as updated:
        kubectl.apply(documents(database_role(namespace, namespace, **more)))
        kubectl.wait(target, "jsonpath={.status.observedGeneration}=2")
    with counted_writes(cluster) as followed:
        known = kubectl.get(target)["status"]["passwordFingerprint"]
        kubectl.apply(documents(password_secret(namespace, "new-pa55word")))
        assert wait_until(
            lambda: kubectl.get(target)["status"]["passwordFingerprint"] != known,
            timeout=30,
        )
    with counted_writes(cluster) as deleted:
        kubectl.run("delete", target)

    assert created.objects == {"patch databaseroles/status": 1}
    assert created.events <= 1
    assert updated.objects == {"patch databaseroles/status": 1}
    assert followed.objects == {"patch databaseroles/status": 1}
    assert deleted.objects == {"patch databaseroles": 1}


@pytest.mark.parametrize(
    "count",
    [20, pytest.param(200, marks=(pytest.mark.slow, pytest.mark.timeout(1800)))],
)
def test_restart_writes_nothing(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, count: int
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    create_items(kubectl, make_items(namespace, count), cluster=namespace)
    wait_ready(kubectl, timeout=600)
    wait_idle(cluster)

    assert_restart_writes_nothing(cluster, databases=count, roles=count)
    delete_items(kubectl, timeout=600)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_start_with_three_thousand_objects_writes_nothing(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    """Most of them are roles, which take no room on the disk."""
    items = make_items(namespace, 30)
    further = [
        database_role(f"{item.name}-{number}", namespace, permissions=[permission])
        for item in items
        for permission in [{"database": item.postgres_name, "privileges": ["CONNECT"]}]
        for number in range(98)
    ]
    connect_cluster(cluster, kubectl, namespace)
    create_items(kubectl, items, cluster=namespace)
    kubectl.run("create", "--filename=-", input=documents(*further), timeout=600)
    wait_idle(cluster, timeout=600)

    # To have kubectl wait for each by itself would take longer than all the rest.
    ready = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    found = kubectl.run("get", "databases,databaseroles", f"-o=jsonpath={ready}")
    assert found.split() == ["True"] * 3000
    roles = len(items) + len(further)
    assert_restart_writes_nothing(cluster, databases=len(items), roles=roles)
    kinds = "databases,databaseroles"
    kubectl.run("delete", kinds, "--all", "--wait=false", timeout=300)
    assert wait_until(lambda: not kubectl.run("get", kinds, "-o=name"), timeout=600)


def assert_restart_writes_nothing(
    cluster: LocalCluster, *, databases: int, roles: int
) -> None:
    """Assert that a controller that begins anew reads everything and writes nothing."""
    everything = {"databasecluster": 1, "database": databases, "databaserole": roles}
    with counted_writes(cluster) as writes, counted_statements(cluster) as statements:
        cluster.controller.restart()
        wait_idle(cluster, at_least=everything, timeout=300)

    assert writes.objects == {}
    assert writes.events == 0
    assert statements.written == {}
    assert statements.transaction_ids == 0


def test_resync_without_drift_writes_nothing(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    count = 5
    connect_cluster(cluster, kubectl, namespace)
    often = database_cluster(namespace, resyncInterval=f"{RESYNC_SECONDS}s")
    kubectl.apply(documents(often))
    create_items(kubectl, make_items(namespace, count), cluster=namespace)
    wait_ready(kubectl)
    wait_idle(cluster)

    with counted_writes(cluster) as writes, counted_statements(cluster) as statements:
        before = reconciles(cluster)
        kinds = {"databasecluster": 1, "database": count, "databaserole": count}
        twice = {kind: before[kind] + 2 * kinds[kind] for kind in kinds}
        wait_idle(cluster, at_least=twice)

    assert writes.objects == {}
    assert writes.events == 0
    assert statements.written == {}
    assert statements.transaction_ids == 0
