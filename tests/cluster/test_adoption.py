"""Taking over what is there: by consent of both sides, and never from the living."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_role,
    documents,
    login,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl

REASON = "jsonpath={{.status.conditions[?(@.type=='Ready')].reason}}={}"


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
    kubectl.apply(documents(password_secret("login", "an attacker's")))
    yield kubectl
    kubectl.run("delete", "databases,databaseroles", "--all")
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


def agree(kubectl: Kubectl, cluster: str, **adoption: Any) -> None:
    """Say what may be taken over on a DatabaseCluster."""
    patch = json.dumps({"spec": {"adoption": adoption}})
    kubectl.run(
        "patch", f"databasecluster/{cluster}", "--type=merge", f"--patch={patch}"
    )


def comment(cluster: LocalCluster, dbname: str) -> str | None:
    """Return the comment of a database."""
    query = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
        f" WHERE datname = '{dbname}'"
    )
    return str(administer(cluster, "postgres", query)[0][0])


def test_kept_database_is_taken_over_in_its_namespace_and_by_no_other(
    cluster: LocalCluster, kubectl: Kubectl, attacker: Kubectl, connected: str
) -> None:
    name = f"{connected}_db"
    wanted = database(f"{connected}-db", connected, schema="app")
    grab = database("grab", connected, adopt=True)
    grab["spec"]["name"] = name
    kubectl.apply(documents(wanted))
    kubectl.wait(f"database/{connected}-db", "condition=Ready")
    attacker.apply(documents(grab))
    attacker.wait("database/grab", REASON.format("Conflict"))
    before = comment(cluster, name)

    kubectl.run("delete", f"database/{connected}-db")
    attacker.wait("database/grab", REASON.format("AlreadyExists"))
    kept = comment(cluster, name)
    assert kept != before

    renamed = database("renamed", connected, schema="app")
    renamed["spec"]["name"] = name
    kubectl.apply(documents(renamed))
    kubectl.wait("database/renamed", REASON.format("AlreadyExists"))
    assert comment(cluster, name) == kept
    renamed["spec"]["adopt"] = True
    kubectl.apply(documents(renamed))
    kubectl.wait("database/renamed", "condition=Ready")
    attacker.wait("database/grab", REASON.format("Conflict"))
    # The loser goes, and touches nothing.
    taken = comment(cluster, name)
    attacker.run("delete", "database/grab")
    assert comment(cluster, name) == taken


def test_what_was_made_by_hand_is_taken_over_only_by_the_namespace_it_is_listed_for(
    cluster: LocalCluster, kubectl: Kubectl, attacker: Kubectl, connected: str
) -> None:
    name = f"{connected}_legacy"
    administer(
        cluster,
        "postgres",
        f"CREATE DATABASE {name} OWNER pgop_admin",
        f"COMMENT ON DATABASE {name} IS 'the ledger'",
        f"CREATE ROLE {name} LOGIN PASSWORD 'made by hand'",
        f"GRANT {name} TO pgop_admin WITH ADMIN OPTION",
    )
    legacy = f"{connected}-legacy"
    secret = password_secret("login", "ours")
    objects = documents(
        secret,
        database(legacy, connected, adopt=True),
        database_role(legacy, connected, adopt=True, password={"name": "login"}),
    )
    targets = (f"database/{legacy}", f"databaserole/{legacy}")
    for tenant in (kubectl, attacker):
        tenant.apply(objects)
        for target in targets:
            tenant.wait(target, REASON.format("AlreadyExists"))

    entry = {"name": name, "namespace": connected}
    agree(kubectl, connected, policy="Listed", databases=[entry], roles=[entry])

    for target in targets:
        kubectl.wait(target, "condition=Ready")
        attacker.wait(target, REASON.format("Conflict"))
    login(cluster, user=name, password="ours", dbname="postgres").close()
    public = f"SELECT has_database_privilege('public', '{name}', 'CONNECT')"
    assert administer(cluster, "postgres", public) == [(True,)]
    # An adopted role is kept unless its object says otherwise.
    kubectl.run("delete", f"databaserole/{legacy}")
    login(cluster, user=name, password="ours", dbname="postgres").close()


def test_superuser_is_never_taken_over(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    name = f"{connected}_root"
    administer(cluster, "postgres", f"CREATE ROLE {name} SUPERUSER")
    entry = {"name": name, "namespace": connected}
    agree(kubectl, connected, policy="Listed", roles=[entry])
    role = database_role(f"{connected}-root", connected, adopt=True)

    kubectl.apply(documents(role))

    kubectl.wait(f"databaserole/{connected}-root", REASON.format("NotAllowed"))
    query = f"SELECT rolsuper, rolcanlogin FROM pg_roles WHERE rolname = '{name}'"
    assert administer(cluster, "postgres", query) == [(True, False)]
    administer(cluster, "postgres", f"DROP ROLE {name}")
