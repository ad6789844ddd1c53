"""Uninstalling in either order loses nothing and hangs nowhere."""

from collections.abc import Iterator

import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
)
from tests.cluster.standins import run_as_administrator
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.cluster import LocalCluster, install_api
from tests.localcluster.kubectl import Kubectl

CRDS = f"--filename={CHECKOUT / 'crds'}"


def reinstall(cluster: LocalCluster) -> None:
    """Have CRDs and both processes again."""
    install_api(cluster.kubectl)
    for process in (cluster.controller, cluster.webhook):
        process.restart()


@pytest.fixture
def reinstalled(cluster: LocalCluster, namespace: str) -> Iterator[None]:
    """Leave the bed whole, before the namespace is cleared."""
    yield
    if cluster.kubectl("get", CRDS).returncode or cluster.webhook.pid is None:
        reinstall(cluster)


def exists(cluster: LocalCluster, name: str) -> tuple[bool, bool]:
    """Tell whether the server has a database and a role of that name."""
    queries = (
        f"SELECT 1 FROM pg_database WHERE datname = '{name}'",
        f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'",
    )
    database, role = (bool(administer(cluster, "postgres", one)) for one in queries)
    return database, role


def objects_of(namespace: str) -> str:
    """A database that is dropped with its object, and a role likewise."""
    return documents(
        database(namespace, namespace, deletionPolicy="Delete"),
        database_role(namespace, namespace),
    )


def wait_ready(kubectl: Kubectl, namespace: str) -> None:
    kubectl.wait(f"database/{namespace}", "condition=Ready")
    kubectl.wait(f"databaserole/{namespace}", "condition=Ready")


def carries_on(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> None:
    """Install again: the same objects are served, and cleaned up in the end."""
    reinstall(cluster)
    kubectl.apply(documents(database_cluster(namespace)))
    kubectl.apply(objects_of(namespace))
    wait_ready(kubectl, namespace)
    kubectl.run("delete", "databaserole", namespace)
    kubectl.run("delete", "database", namespace)
    assert exists(cluster, namespace) == (False, False)


@pytest.mark.usefixtures("reinstalled")
def test_objects_that_go_with_their_crds_keep_everything(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(objects_of(namespace))
    wait_ready(kubectl, namespace)
    kubectl.run("delete", CRDS, "--timeout=60s", timeout=70)
    assert exists(cluster, namespace) == (True, True)
    carries_on(cluster, kubectl, namespace)


@pytest.mark.usefixtures("reinstalled")
def test_objects_without_an_operator_are_released_by_command(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(objects_of(namespace))
    wait_ready(kubectl, namespace)
    cluster.controller.kill()
    cluster.webhook.kill()
    kubectl.run("delete", "database", namespace, "--wait=false")
    assert run_as_administrator(cluster, "release").returncode == 2
    released = run_as_administrator(cluster, "release", "--all")
    assert (released.returncode, released.stdout[:2]) == (0, "3 "), released
    kubectl.run("delete", CRDS, "--timeout=60s", timeout=70)
    assert exists(cluster, namespace) == (True, True)
    carries_on(cluster, kubectl, namespace)
