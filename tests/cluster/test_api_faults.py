"""Whatever is between a controller and its API server, it costs time and nothing else.

Each fault is there while objects are created, while they change and while they are
deleted, until the controller has met it a few times.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.cluster.items import Item, create_items, make_items, wait_ready
from tests.cluster.objects import (
    administer,
    database_cluster,
    documents,
    dsn_secret,
    login,
)
from tests.cluster.standing import (
    closed_databases,
    databases,
    is_as_declared,
    names,
    roles,
)
from tests.localcluster.api_faults import FAULTS, Fault
from tests.localcluster.api_proxy import Front, fronted
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

LIMIT: Final = 7
PATIENCE: Final = 100
# What a controller may ask for in a second whatever happens, and at once.
RATE: Final = 25.0
BURST: Final = 100
# For each object, from its creation to its deletion.
MOST_STATUS_WRITES: Final = 12


# Each watch finds out only by its silence, after more than a minute.
SLOW: Final = (pytest.mark.slow, pytest.mark.timeout(700))


@pytest.fixture(scope="module")
def front(
    cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """The bed's controller, but led to the API server by what fails on purpose."""
    alone = cluster.controller
    alone.stop()
    plane = cluster.control_plane
    kubeconfig = plane.operator_kubeconfig(plane.controller)
    directory: Path = tmp_path_factory.mktemp("front")
    with fronted(kubeconfig, directory=directory) as front:
        led = cluster.add_controller("controller-led", kubeconfig=front.kubeconfig)
        cluster.controller = led
        try:
            with led.kept_running():
                yield front
        finally:
            led.stop()
            cluster.controller = alone
            alone.start()


@pytest.fixture
def items(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> list[Item]:
    """What is to be created, on a server that is connected."""
    kubectl.apply(
        documents(
            dsn_secret(namespace, cluster.postgres.admin_dsn),
            database_cluster(namespace),
        )
    )
    kubectl.wait(f"databasecluster/{namespace}", "condition=Ready", timeout=PATIENCE)
    return make_items(namespace, 2)


@contextmanager
def present(fault: Fault, front: Front) -> Iterator[None]:
    """Have a fault until what happens in the block was done and the fault was met."""
    began, asked = time.monotonic(), requests(front)
    fault.begin(front)
    try:
        yield
        assert wait_until(lambda: fault.is_met(front), timeout=PATIENCE)
    finally:
        passed = time.monotonic() - began
        fault.end(front)
    loop = requests(front) - asked - BURST - RATE * passed
    assert loop <= 0, "it asks over and over"


def requests(front: Front) -> int:
    """Return how often the controller asked for anything, or tried to."""
    return len(front.proxy.asked) + front.wire.connections


def change_items(kubectl: Kubectl, items: list[Item], *, cluster: str) -> list[Item]:
    """Give every login another password and limit; return what there is then."""
    changed = [replace(item, password=f"canary-2-{item.password}") for item in items]
    objects = [
        obj
        for item in changed
        for obj in item.objects(
            cluster, connectionLimit=LIMIT, connectionSecret={"name": f"{item.name}-s"}
        )
    ]
    kubectl.apply(documents(*objects))
    return changed


def are_changed(bed: LocalCluster, items: list[Item]) -> bool:
    """Tell whether all logins have their other passwords and limits."""
    limits = administer(
        bed,
        "postgres",
        "SELECT rolconnlimit FROM pg_roles"
        f" WHERE rolname IN ({', '.join(repr(name) for name in sorted(names(items)))})",
    )
    return limits == [(LIMIT,)] * len(items) and all(
        is_as_declared(bed, item) for item in items
    )


def status_writes(bed: LocalCluster, mark: int, namespace: str) -> Counter[str]:
    """Return how often the status of each object was written since a mark."""
    user = bed.control_plane.controller.user
    return Counter(
        f"{request.resource}/{request.name}"
        for request in bed.requests_since(mark, user=user)
        if request.subresource == "status" and request.namespace == namespace
    )


def assert_fault_costs_time_only(
    bed: LocalCluster,
    kubectl: Kubectl,
    items: list[Item],
    *,
    fault: Fault,
    front: Front,
) -> None:
    """Assert that all is as declared after creation, change and deletion under it."""
    namespace = kubectl.run("config", "view", "--minify", "-o=jsonpath={..namespace}")
    mark = bed.audit_mark()
    with present(fault, front):
        create_items(kubectl, items, cluster=namespace)
    wait_ready(kubectl, timeout=PATIENCE)
    assert [item.name for item in items if not is_as_declared(bed, item)] == []

    with present(fault, front):
        changed = change_items(kubectl, items, cluster=namespace)
    arrived = partial(are_changed, bed, changed)
    assert wait_until(arrived, timeout=PATIENCE), "a change got lost"
    wait_ready(kubectl, timeout=PATIENCE)
    name, password = items[0].postgres_name, items[0].password
    with pytest.raises(psycopg.OperationalError, match="password authentication"):
        login(bed, user=name, password=password, dbname=name)
    bindings = kubectl.get("secrets", "-l=app.kubernetes.io/managed-by=pg-operator")
    made = {binding["metadata"]["name"] for binding in bindings["items"]}
    assert made == {f"{item.name}-s" for item in items}
    assert closed_databases(bed, namespace) == set()
    assert databases(bed, namespace) == names(items)
    assert roles(bed, namespace) == names(items)

    with present(fault, front):
        kubectl.run("delete", "databaseroles,databases", "--all", "--wait=false")
    gone = ("--all", "--for=delete", f"--timeout={PATIENCE}s")
    for kind in ("databaseroles", "databases"):
        kubectl.run("wait", kind, *gone, timeout=PATIENCE + 30)
    assert databases(bed, namespace) | closed_databases(bed, namespace) == set()
    assert roles(bed, namespace) == set()
    writes = status_writes(bed, mark, namespace)
    assert max(writes.values()) <= MOST_STATUS_WRITES, writes


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=SLOW if name == "half-open" else ()) for name in FAULTS],
)
def test_fault_of_the_api_server_costs_time_only(
    cluster: LocalCluster,
    kubectl: Kubectl,
    items: list[Item],
    front: Front,
    fault: str,
) -> None:
    assert_fault_costs_time_only(
        cluster, kubectl, items, fault=FAULTS[fault], front=front
    )
