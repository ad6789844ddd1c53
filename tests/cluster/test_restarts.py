"""What restarts while there is work: the API server, and a controller that is told."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from psycopg.conninfo import make_conninfo

from pg_operator.kube.lease import SETTLED_BY
from tests.cluster.counts import wait_idle
from tests.cluster.items import (
    SCHEMA,
    create_items,
    delete_items,
    make_items,
    wait_ready,
)
from tests.cluster.objects import (
    LEASE,
    administer,
    busy_role,
    connect_cluster,
    connect_server,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.cluster.standing import databases, is_as_declared, names, roles
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.faults import HOST, Wire, in_thread
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.postgres import ADMIN
from tests.localcluster.probes import tail, wait_until

PATIENCE = 100
# What a leader does without its API server is over by then.
TERM = 40
STOPPING = "Stopping, letting what runs finish"


def test_api_server_that_is_killed_and_comes_back_costs_time_only(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, 6)
    pid = cluster.controller.pid
    create_items(kubectl, items, cluster=namespace)
    cluster.control_plane.kill_api_server()
    unfinished = names(items) - databases(cluster, namespace)
    cluster.control_plane.start_api_server()

    assert unfinished, "it was killed when everything was done"
    wait_ready(kubectl, timeout=PATIENCE)
    assert [item.name for item in items if not is_as_declared(cluster, item)] == []
    assert databases(cluster, namespace) == names(items)
    assert roles(cluster, namespace) == names(items)
    delete_items(kubectl, timeout=PATIENCE)
    assert cluster.controller.pid == pid, "the controller ended of it"


@pytest.fixture
def leader(cluster: LocalCluster) -> Iterator[OperatorProcess]:
    """One controller by election instead of the bed's own."""
    alone = cluster.controller
    alone.stop()
    leader = cluster.add_controller("controller-elected", "--leader-elect")
    cluster.controller = leader
    try:
        yield leader
    finally:
        leader.stop()
        cluster.controller = alone
        alone.start()


def test_leader_without_its_api_server_ends_and_its_successor_goes_on(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, leader: OperatorProcess
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, 4)
    create_items(kubectl, items[:2], cluster=namespace)
    cluster.control_plane.kill_api_server()
    try:
        assert leader.wait_ended(timeout=TERM)
    finally:
        cluster.control_plane.start_api_server()
    leader.start()
    create_items(kubectl, items[2:], cluster=namespace)
    wait_ready(kubectl, timeout=PATIENCE)
    assert [item.name for item in items if not is_as_declared(cluster, item)] == []


def test_leader_that_ends_tells_the_next_one_that_nobody_need_be_entered(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, leader: OperatorProcess
) -> None:
    """One that is killed does not, and what is in databases is looked at at once.

    What shared catalogs show is looked at either way.
    """
    dsn = cluster.postgres.admin_dsn
    connect_server(kubectl, namespace, dsn, resyncInterval="24h")
    items = make_items(namespace, 2)
    create_items(kubectl, items, cluster=namespace)
    wait_ready(kubectl)
    wait_idle(cluster)
    item = items[0]
    looks = {"databasecluster": 1, "database": 2, "databaserole": 2}
    for end, is_seen_inside in ((leader.stop, False), (leader.kill, True)):
        end()
        administer(
            cluster,
            item.postgres_name,
            f"REVOKE USAGE ON SCHEMA {SCHEMA} FROM {item.postgres_name}",
            f"REVOKE CONNECT ON DATABASE {items[1].postgres_name}"
            f" FROM {items[1].postgres_name}",
        )
        leader.start()
        wait_idle(cluster, at_least=looks)
        assert is_as_declared(cluster, item) is is_seen_inside
        assert is_as_declared(cluster, items[1])


def test_leader_with_work_left_tells_nobody_that_all_was_settled(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, leader: OperatorProcess
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    with busy_role(cluster, kubectl, namespace):
        leader.stop()
        assert SETTLED_BY not in notes(kubectl)
    leader.start()
    kubectl.wait(f"pgrole/{namespace}", "condition=Ready", timeout=60)
    wait_idle(cluster)
    assert SETTLED_BY not in notes(kubectl)
    leader.stop()
    assert SETTLED_BY in notes(kubectl)


def notes(kubectl: Kubectl) -> Mapping[str, str]:
    """Return the annotations of the Lease."""
    metadata = kubectl.get(*LEASE)["metadata"]
    return dict(metadata.get("annotations") or {})


@pytest.fixture
def wire(cluster: LocalCluster) -> Iterator[Wire]:
    """A wire to PostgreSQL."""
    with in_thread(Wire(HOST, cluster.postgres.port).laid) as wire:
        yield wire


def test_controller_that_is_told_to_end_finishes_what_it_began(
    cluster: LocalCluster, wire: Wire, kubectl: Kubectl, namespace: str
) -> None:
    """The wire comes before the namespace, which needs it to go."""
    dsn = make_conninfo(cluster.postgres.admin_dsn, port=wire.port)
    cluster_objects = dsn_secret(namespace, dsn), database_cluster(namespace)
    kubectl.apply(documents(*cluster_objects))
    kubectl.wait(f"databasecluster/{namespace}", "condition=Ready")
    log = cluster.controller.component.log
    offset = log.stat().st_size
    wire.delay = 0.3
    kubectl.apply(documents(database_role(f"{namespace}-begun", namespace)))
    assert wait_until(partial(is_writing, cluster), timeout=PATIENCE)
    with ThreadPoolExecutor(1) as beside:
        stopping = beside.submit(cluster.controller.stop)
        try:
            assert wait_until(
                lambda: STOPPING in tail(log, offset=offset), timeout=PATIENCE
            )
            assert roles(cluster, namespace) == set(), "there was nothing to finish"
            kubectl.apply(documents(database_role(f"{namespace}-late", namespace)))
            stopping.result()
            assert roles(cluster, namespace) == {f"{namespace}_begun"}
            kubectl.wait(f"databaserole/{namespace}-begun", "condition=Ready")
        finally:
            stopping.result()
            wire.delay = 0.0
            cluster.controller.start()
    kubectl.wait(f"databaserole/{namespace}-late", "condition=Ready", timeout=PATIENCE)


def is_writing(bed: LocalCluster) -> bool:
    """Tell whether the operator has a transaction open."""
    query = (
        "SELECT FROM pg_stat_activity WHERE xact_start IS NOT NULL"
        f" AND usename = '{ADMIN}' AND state = 'idle in transaction'"
    )
    return bool(administer(bed, "postgres", query))
