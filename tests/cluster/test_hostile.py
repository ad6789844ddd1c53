"""What tenants and careless hands try to keep or to break, and that they do not."""

from collections.abc import Iterator
from typing import Any

import psycopg
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
from tests.cluster.unguarded import without_admission
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 60
PASSWORD = "a tenant's"


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready."""
    connect_cluster(cluster, kubectl, namespace)
    return namespace


@pytest.fixture
def tenant(cluster: LocalCluster, connected: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace, with a password Secret in it."""
    name = f"{connected}-tenant"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    kubectl.apply(documents(password_secret("login", PASSWORD)))
    yield kubectl
    cluster.kubectl.run("delete", "namespace", name)


def declare_shop(kubectl: Kubectl, name: str, cluster: str, **spec: Any) -> None:
    """Apply a Database with schema `app` and wait until it is Ready."""
    kubectl.apply(documents(database(name, cluster, schema="app", **spec)))
    kubectl.wait(f"database/{name}", "condition=Ready")


def permission(dbname: str, *tables: str) -> dict[str, Any]:
    """Return a permission to read tables of schema `app`."""
    read = [{"name": table, "privileges": ["SELECT"]} for table in tables]
    app = {"name": "app", "privileges": ["USAGE"], "tables": read}
    return {"database": dbname, "privileges": ["CONNECT"], "schemas": [app]}


def make_tables(cluster: LocalCluster, dbname: str, *names: str) -> None:
    """Create tables that belong to the operator's login."""
    tables = [f"CREATE TABLE app.{name} (id int)" for name in names]
    administer(cluster, dbname, "SET ROLE pgop_admin", *tables)


def may_read(cluster: LocalCluster, dbname: str, role: str, table: str) -> bool:
    """Tell whether a role has SELECT on a table of schema `app`."""
    query = f"SELECT has_table_privilege('{role}', 'app.{table}', 'SELECT')"
    return bool(administer(cluster, dbname, query)[0][0])


def reason(kubectl: Kubectl, target: str) -> str:
    """Return the reason of an object's Ready condition."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
    return kubectl.run("get", target, f"--output={path}")


def message(kubectl: Kubectl, target: str) -> str:
    """Return the message of an object's Ready condition."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    return kubectl.run("get", target, f"--output={path}")


def test_rival_database_of_the_same_name_does_not_keep_what_its_owner_closed(
    cluster: LocalCluster, kubectl: Kubectl, tenant: Kubectl, connected: str
) -> None:
    name, dbname = f"{connected}-shop", f"{connected}_shop"
    role, target = f"{connected}_r", f"databaserole/{connected}-r"
    opened = {"from": "Names", "names": [f"{connected}-tenant"]}
    declare_shop(kubectl, name, connected, allowedNamespaces=opened)
    make_tables(cluster, dbname, "orders")
    guest = database_role(
        f"{connected}-r",
        connected,
        password={"name": "login"},
        permissions=[permission(dbname, "orders")],
    )
    tenant.apply(documents(guest))
    tenant.wait(target, "condition=Ready")
    rival = database(name, connected, allowedNamespaces={"from": "All"})
    with without_admission(cluster.kubectl):
        tenant.apply(documents(rival))
    assert wait_until(
        lambda: reason(tenant, f"database/{name}") == "Conflict", timeout=PATIENCE
    )

    kubectl.apply(documents(database(name, connected, schema="app")))

    assert wait_until(
        lambda: not may_read(cluster, dbname, role, "orders"), timeout=PATIENCE
    ), message(tenant, target)
    assert wait_until(
        lambda: "is not open to namespace" in message(tenant, target), timeout=PATIENCE
    )
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        login(cluster, user=role, password=PASSWORD, dbname=dbname)


def test_what_leaves_the_spec_while_a_database_is_closed_is_revoked_later(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    name, dbname = f"{connected}-shop", f"{connected}_shop"
    role, target = f"{connected}_r", f"databaserole/{connected}-r"
    declare_shop(kubectl, name, connected)
    make_tables(cluster, dbname, "orders", "lines")

    def declare(*tables: str) -> None:
        permissions = [permission(dbname, *tables)]
        reader = database_role(f"{connected}-r", connected, permissions=permissions)
        kubectl.apply(documents(reader))

    declare("orders", "lines")
    kubectl.wait(target, "condition=Ready")
    administer(
        cluster, "postgres", f"ALTER DATABASE {dbname} WITH ALLOW_CONNECTIONS false"
    )
    declare("orders")
    assert wait_until(
        lambda: reason(kubectl, target) == "PartiallyApplied", timeout=PATIENCE
    ), message(kubectl, target)
    assert "does not accept connections" in message(kubectl, target)
    query = f"SELECT has_database_privilege('{role}', '{dbname}', 'CONNECT')"
    assert administer(cluster, "postgres", query) == [(True,)]

    administer(
        cluster, "postgres", f"ALTER DATABASE {dbname} WITH ALLOW_CONNECTIONS true"
    )

    kubectl.wait(target, "condition=Ready")
    assert not may_read(cluster, dbname, role, "lines")
    assert may_read(cluster, dbname, role, "orders")


def test_password_changes_while_a_database_of_its_role_is_full(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    name, dbname = f"{connected}-shop", f"{connected}_shop"
    role, target = f"{connected}_r", f"databaserole/{connected}-r"
    declare_shop(kubectl, name, connected)
    make_tables(cluster, dbname, "orders")
    reader = database_role(
        f"{connected}-r",
        connected,
        password={"name": "login"},
        permissions=[permission(dbname, "orders")],
    )
    kubectl.apply(documents(password_secret("login", "old"), reader))
    kubectl.wait(target, "condition=Ready")
    administer(
        cluster,
        "postgres",
        f"ALTER DATABASE {dbname} WITH CONNECTION LIMIT 0",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{dbname}'",
    )

    kubectl.apply(documents(password_secret("login", "new")))

    assert wait_until(
        lambda: "connection limit" in message(kubectl, target), timeout=PATIENCE
    )
    login(cluster, user=role, password="new", dbname="postgres").close()
    administer(cluster, "postgres", f"ALTER DATABASE {dbname} WITH CONNECTION LIMIT -1")
    kubectl.wait(target, "condition=Ready")
    assert may_read(cluster, dbname, role, "orders")


def test_code_of_a_deleted_role_never_runs_as_the_operator(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    """A SECURITY DEFINER function would make the operator's rights everybody's."""
    shop, dbname = f"{connected}-shop", f"{connected}_shop"
    declare_shop(kubectl, shop, connected)
    grants = permission(dbname)
    grants["schemas"][0]["privileges"] = ["USAGE", "CREATE"]
    going, staying = f"{connected}-going", f"{connected}-staying"
    kubectl.apply(documents(password_secret("login", PASSWORD)))
    for name in (going, staying):
        spec = {"password": {"name": "login"}, "permissions": [grants]}
        role = database_role(name, connected, deletionPolicy="Delete", **spec)
        kubectl.apply(documents(role))
        kubectl.wait(f"databaserole/{name}", "condition=Ready")
    user = f"{connected}_going"
    with login(cluster, user=user, password=PASSWORD, dbname=dbname) as session:
        session.execute(
            "CREATE FUNCTION app.pwn(query text) RETURNS void LANGUAGE plpgsql"
            " SECURITY DEFINER AS $$BEGIN EXECUTE query; END$$"
        )

    kubectl.run("delete", "databaserole", going)

    user = f"{connected}_staying"
    with login(cluster, user=user, password=PASSWORD, dbname=dbname) as session:
        for query in ("CREATE ROLE evil", "CREATE DATABASE evil", "GRANT x TO y"):
            with pytest.raises(psycopg.Error) as refused:
                session.execute("SELECT app.pwn(%s)", [query])
            assert refused.value.sqlstate in {"42501", "25001", "42704"}
    assert (
        administer(cluster, "postgres", "SELECT FROM pg_roles WHERE rolname='evil'")
        == []
    )
