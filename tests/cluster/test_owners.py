"""Owners of databases and schemas: in any order, and never another tenant's role."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_role,
    documents,
)
from tests.cluster.unguarded import without_admission
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 30


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready."""
    connect_cluster(cluster, kubectl, namespace)
    return namespace


@pytest.fixture
def attacker(cluster: LocalCluster, connected: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace."""
    name = f"{connected}-attacker"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    yield kubectl
    kubectl.run("delete", "databases,databaseroles", "--all")
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


def message(kubectl: Kubectl, target: str) -> str:
    """Return the message of an object's Ready condition."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    return kubectl.run("get", target, f"--output={path}")


def owners(cluster: LocalCluster, dbname: str) -> dict[str, Any]:
    """Return the owner of a database, under "", and those of its schemas."""
    schemas = administer(
        cluster,
        dbname,
        "SELECT '', pg_get_userbyid(datdba) FROM pg_database"
        " WHERE datname = current_database() UNION ALL"
        " SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace"
        " WHERE nspname !~ '^pg_|^information_schema$|^public$'",
    )
    return dict(schemas)


def test_database_waits_for_its_owners_and_is_woken_by_them(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    name, owner, writer = f"{connected}_db", f"{connected}_owner", f"{connected}_writer"
    schemas = [{"name": "app", "owner": writer}, {"name": "log"}]
    target = f"database/{connected}-db"
    kubectl.apply(
        documents(
            database(f"{connected}-db", connected, owner=owner, schemas=schemas),
        )
    )
    assert wait_until(
        lambda: f"role '{owner}' is no DatabaseRole" in message(kubectl, target),
        timeout=PATIENCE,
    ), message(kubectl, target)
    assert owners(cluster, name) == {"": "pgop_admin"}
    roles = [
        database_role(role.replace("_", "-"), connected) for role in (owner, writer)
    ]

    kubectl.apply(documents(*roles))

    kubectl.wait(target, "condition=Ready")
    assert owners(cluster, name) == {"": owner, "app": writer, "log": owner}
    # A role that goes leaves its Database as it is, and the Database says so.
    kubectl.run("delete", f"databaserole/{connected}-writer")
    assert wait_until(
        lambda: "spec.schemas[app].owner" in message(kubectl, target),
        timeout=PATIENCE,
    ), message(kubectl, target)


def test_tenant_cannot_make_anothers_role_an_owner(
    cluster: LocalCluster, kubectl: Kubectl, attacker: Kubectl, connected: str
) -> None:
    """Neither by naming it, nor by declaring its name too, until it is listed."""
    victim, name = f"{connected}_victim", f"{connected}_loot"
    kubectl.apply(documents(database_role(f"{connected}-victim", connected)))
    kubectl.wait(f"databaserole/{connected}-victim", "condition=Ready")
    schemas = [{"name": "app", "owner": victim, "creators": [victim]}, {"name": "log"}]
    target = f"database/{connected}-loot"
    attacker.apply(
        documents(
            database(target.partition("/")[2], connected, owner=victim, schemas=schemas)
        )
    )
    assert wait_until(
        lambda: message(attacker, target).count("is no DatabaseRole") == 3,
        timeout=PATIENCE,
    ), message(attacker, target)
    assert owners(cluster, name) == {"": "pgop_admin"}

    claim = database_role("claim", connected)
    claim["spec"]["roleName"] = victim
    with without_admission(cluster.kubectl):
        attacker.apply(documents(claim))

    assert wait_until(
        lambda: message(attacker, target).count("is not made yet") == 3,
        timeout=PATIENCE,
    ), message(attacker, target)
    assert owners(cluster, name) == {"": "pgop_admin"}
    said = message(attacker, target) + message(attacker, "databaserole/claim")
    assert f"{connected}-victim" not in said

    listed = '{"spec": {"allowedOwners": ["' + victim + '"]}}'
    kubectl.run(
        "patch", f"databasecluster/{connected}", "--type=merge", f"--patch={listed}"
    )

    attacker.wait(target, "condition=Ready")
    assert owners(cluster, name) == {"": victim, "app": victim, "log": victim}
