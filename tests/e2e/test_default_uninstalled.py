"""config/default and the CRDs taken away, in both orders, with objects in use."""

import re
import time
from collections.abc import Callable

import pytest

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.cluster.standins import run_as_administrator
from tests.e2e.conftest import Deployer
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.deployed import DeployedCluster, install_crds
from tests.localcluster.probes import wait_until

Uninstall = Callable[[DeployedCluster, Deployer], None]

MANIFESTS = "config/default"
CRDS = f"--filename={CHECKOUT / 'crds'}"
LEASE = "lease/pg-operator-controller"
DEPLOYING = CHECKOUT / "docs" / "deploying.md"
TARGETS = ("databaserole/left", "database/left", "databasecluster/left")


def crds_first(cluster: DeployedCluster, deployer: Deployer) -> None:
    """Take the kinds away, and with them their objects, while the operator runs."""
    cluster.kubectl.run("delete", CRDS, "--timeout=60s")
    deployer.clear()


def operator_first(cluster: DeployedCluster, deployer: Deployer) -> None:
    """Leave objects to nobody, whose finalizers a command then removes."""
    deployer.clear()
    released = run_as_administrator(cluster, "release", "--all")
    assert (released.returncode, released.stdout[:2]) == (0, "3 "), released
    cluster.kubectl.run("delete", CRDS, "--timeout=60s")


@pytest.mark.parametrize("uninstall", [crds_first, operator_first])
def test_uninstalling_in_any_order_keeps_what_is_on_the_server(
    cluster: DeployedCluster, deployer: Deployer, uninstall: Uninstall
) -> None:
    deployer.provide(MANIFESTS)
    declare(cluster)
    before = on_the_server(cluster)
    assert len(before) == 2

    uninstall(cluster, deployer)
    assert cluster.kubectl("get", CRDS, "--output=name").stdout == ""
    assert on_the_server(cluster) == before

    # Installed again, it carries on: the same objects are served, and cleaned up.
    install_crds(cluster.kubectl)
    deployer.provide(MANIFESTS)
    declare(cluster)
    assert on_the_server(cluster) == before
    cluster.kubectl.run("delete", *TARGETS, "--timeout=60s")
    assert on_the_server(cluster) == []


def test_new_installation_need_not_wait_for_the_lease_of_the_one_before(
    cluster: DeployedCluster, deployer: Deployer, say: Callable[[str], None]
) -> None:
    deployer.provide(MANIFESTS)
    assert wait_until(lambda: holder(cluster) != "", timeout=60)
    deployer.clear()
    assert holder(cluster) != ""  # nobody could give it up

    (command,) = re.findall(r"`kubectl (delete lease [^`]+)`", DEPLOYING.read_text())
    cluster.kubectl.run(*command.split())
    begin = time.monotonic()
    deployer.provide(MANIFESTS)

    assert wait_until(lambda: holder(cluster) != "", timeout=60)
    say(f"\n  a controller works after {time.monotonic() - begin:.1f} s")
    lease = cluster.own.get(LEASE)["spec"]
    assert lease["leaseTransitions"] == 0  # it was taken from nobody


def holder(cluster: DeployedCluster) -> str:
    """Return which controller works; empty when none does."""
    options = ("--ignore-not-found", "--output=jsonpath={.spec.holderIdentity}")
    return cluster.own.run("get", LEASE, *options)


def declare(cluster: DeployedCluster) -> None:
    """Apply a database that is dropped with its object, and a role likewise."""
    cluster.kubectl.apply(
        documents(
            dsn_secret("left", cluster.dsn),
            database_cluster("left"),
            database("left", "left", deletionPolicy="Delete"),
            database_role("left", "left"),
        )
    )
    for target in TARGETS:
        cluster.kubectl.wait(target, "condition=Ready", timeout=60)


def on_the_server(cluster: DeployedCluster) -> list[tuple[str, int]]:
    """Return what there is of that database and role, with their OIDs."""
    return administer(
        cluster,
        "postgres",
        "SELECT 'database', oid FROM pg_database WHERE datname = 'left'"
        " UNION SELECT 'role', oid FROM pg_roles WHERE rolname = 'left' ORDER BY 1",
    )
