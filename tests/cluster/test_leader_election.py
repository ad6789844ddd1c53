"""Of two controllers one works; when it goes, however it goes, the other one does."""

import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.cluster.counts import counted_statements, counted_writes, wait_idle
from tests.cluster.items import create_items, make_items, wait_ready
from tests.cluster.objects import LEASE, connect_cluster
from tests.cluster.standing import is_as_declared
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.probes import wait_until

# After a crash others wait out the Lease, 15 s.
TAKE_OVER = 40


def leads(process: OperatorProcess) -> bool:
    """Tell whether a controller says that it leads."""
    url = f"http://{process.component.address}/metrics"
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return b"\nleader_election_master_status 1.0" in answer.read()
    return False


@pytest.fixture
def pair(cluster: LocalCluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Two controllers instead of the bed's one: the leader and the one that waits."""
    alone = cluster.controller
    alone.stop()
    first = cluster.add_controller("controller-first", "--leader-elect")
    assert wait_until(lambda: leads(first), timeout=TAKE_OVER)
    second = cluster.add_controller("controller-second", "--leader-elect")
    cluster.controller = first
    try:
        yield first, second
    finally:
        for process in (first, second):
            process.thaw()
            process.stop()
        cluster.controller = alone
        alone.start()


def test_leader_that_ends_hands_over_and_one_that_crashes_is_followed(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    pair: tuple[OperatorProcess, OperatorProcess],
) -> None:
    first, second = pair
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, 3)
    create_items(kubectl, items[:1], cluster=namespace)
    wait_ready(kubectl)
    assert not leads(second)

    first.stop()
    assert wait_until(lambda: leads(second), timeout=TAKE_OVER)
    create_items(kubectl, items[1:2], cluster=namespace)
    wait_ready(kubectl)
    terms = kubectl.get(*LEASE)["spec"]["leaseTransitions"]

    first.start()
    assert not leads(first)
    second.kill()
    create_items(kubectl, items[2:], cluster=namespace)
    assert wait_until(lambda: leads(first), timeout=TAKE_OVER)
    wait_ready(kubectl)
    assert kubectl.get(*LEASE)["spec"]["leaseTransitions"] == terms + 1
    assert [item.name for item in items if not is_as_declared(cluster, item)] == []


def test_frozen_leader_that_wakes_up_writes_nothing(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    pair: tuple[OperatorProcess, OperatorProcess],
) -> None:
    first, second = pair
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, 12)
    create_items(kubectl, items, cluster=namespace)
    first.freeze()
    unfinished = [item for item in items if not is_as_declared(cluster, item)]
    assert unfinished, "it was frozen when everything was done"
    assert wait_until(lambda: leads(second), timeout=TAKE_OVER)
    cluster.controller = second
    wait_ready(kubectl, timeout=120)
    wait_idle(cluster)

    with counted_statements(cluster) as statements, counted_writes(cluster) as writes:
        first.thaw()
        assert first.wait_ended(timeout=30)

    assert statements.written == {}
    assert statements.transaction_ids == 0
    assert {write for write in writes.objects if "leases" not in write} == set()
    assert writes.events == 0
    assert [item.name for item in items if not is_as_declared(cluster, item)] == []
