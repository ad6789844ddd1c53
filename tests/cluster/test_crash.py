"""Whatever is killed in the middle of work, it ends as if nothing had happened."""

import random
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.cluster.counts import wait_idle
from tests.cluster.items import (
    Item,
    create_items,
    delete_items,
    make_items,
    wait_ready,
)
from tests.cluster.objects import connect_cluster
from tests.cluster.standing import (
    closed_databases,
    databases,
    is_as_declared,
    names,
    roles,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

LATEST_KILL = 1.0
SLOW = (pytest.mark.slow, pytest.mark.timeout(900))


@pytest.mark.parametrize(("kills", "count"), [(3, 8), pytest.param(10, 50, marks=SLOW)])
def test_controller_killed_while_creating_converges(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, kills: int, count: int
) -> None:
    seed = secrets.randbits(32)
    print(f"the kills come from seed {seed}")  # noqa: T201 (shown on failure)
    moments = random.Random(seed)  # noqa: S311 (nothing secret about it)
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, count)
    unfinished = []
    with ThreadPoolExecutor(1) as beside:
        for number in range(kills):
            # New work for each life, so that every kill falls into some.
            share = items[number::kills]
            creating = beside.submit(create_items, kubectl, share, cluster=namespace)
            Event().wait(moments.uniform(0, LATEST_KILL))
            cluster.controller.kill()
            creating.result()
            unfinished.append(names(items) - databases(cluster, namespace))
            cluster.controller.start()

    assert any(unfinished), "no kill came before everything was done"
    wait_ready(kubectl, timeout=300)
    wait_idle(cluster)
    assert_standing(cluster, items, prefix=namespace)
    delete_items(kubectl, timeout=300)


def test_server_killed_while_creating_converges(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    items = make_items(namespace, 20)
    with ThreadPoolExecutor(1) as beside:
        creating = beside.submit(create_items, kubectl, items, cluster=namespace)
        assert wait_until(lambda: len(databases(cluster, namespace)) >= 3, timeout=60)
        cluster.postgres.stop()
        try:
            creating.result()
        finally:
            cluster.postgres.start()

    wait_ready(kubectl, timeout=120)
    wait_idle(cluster)
    assert_standing(cluster, items, prefix=namespace)


def assert_standing(bed: LocalCluster, items: Sequence[Item], *, prefix: str) -> None:
    """Assert that items are there as declared, each once, and nothing beside them."""
    assert closed_databases(bed, prefix) == set()
    assert databases(bed, prefix) == names(items)
    assert roles(bed, prefix) == names(items)
    wrong = [item.name for item in items if not is_as_declared(bed, item)]
    assert wrong == []
