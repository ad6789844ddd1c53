"""What tenants try to get for their roles, and that the lists decide."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
)
from tests.cluster.unguarded import without_admission
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl, KubectlError
from tests.localcluster.probes import wait_until

PATIENCE = 60


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready and lists nothing."""
    connect_cluster(cluster, kubectl, namespace)
    return namespace


@pytest.fixture
def tenant(cluster: LocalCluster, connected: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace."""
    name = f"{connected}-tenant"
    cluster.kubectl.run("create", "namespace", name)
    yield cluster.kubectl_in(name)
    cluster.kubectl.run("delete", "namespace", name)


@pytest.fixture
def server_roles(cluster: LocalCluster, connected: str) -> Iterator[tuple[str, str]]:
    """A superuser and an ordinary role that no object declares.

    The operator's login may give the ordinary one to others.
    """
    root, staff = f"{connected}_root", f"{connected}_staff"
    administer(
        cluster,
        "postgres",
        f"CREATE ROLE {root} SUPERUSER",
        "SET ROLE pgop_admin",
        f"CREATE ROLE {staff}",
    )
    yield root, staff
    administer(cluster, "postgres", f"DROP ROLE {root}", f"DROP ROLE {staff}")


def declare(kubectl: Kubectl, name: str, cluster: str, **spec: Any) -> None:
    kubectl.apply(documents(database_role(name, cluster, **spec)))


def pending(kubectl: Kubectl, role: str) -> dict[str, str]:
    """Return the reasons of what a role waits for, by path."""
    status = kubectl.get("databaserole", role).get("status", {})
    found = status.get("grants", {}).get("pending", [])
    return {part["path"]: part["reason"] for part in found}


def groups_of(cluster: LocalCluster, role: str) -> set[str]:
    query = (
        "SELECT roleid::regrole::text FROM pg_auth_members"
        f" WHERE member = '{role}'::regrole"
    )
    return {group for (group,) in administer(cluster, "postgres", query)}


def test_tenant_joins_nothing_but_its_own_and_what_is_listed(
    cluster: LocalCluster,
    kubectl: Kubectl,
    tenant: Kubectl,
    connected: str,
    server_roles: tuple[str, str],
) -> None:
    root, staff = server_roles
    theirs, name = f"{connected}_theirs", f"{connected}-mine"
    declare(kubectl, f"{connected}-theirs", connected, login=False)
    kubectl.wait(f"databaserole/{connected}-theirs", "condition=Ready")
    # Naming their role in a document of one's own does not make it one's own.
    with without_admission(cluster.kubectl):
        declare(tenant, f"{connected}-theirs", connected, login=False)
    with pytest.raises(KubectlError, match="server's host"):
        declare(
            tenant, name, connected, memberOf=[{"role": "pg_execute_server_program"}]
        )
    wanted = [root, "pgop_admin", staff, theirs, "pg_read_all_data"]
    declare(tenant, name, connected, memberOf=[{"role": role} for role in wanted])

    refused = {f"spec.memberOf[{role}]": "NotAllowed" for role in wanted}
    assert wait_until(lambda: pending(tenant, name) == refused, timeout=PATIENCE), (
        pending(tenant, name)
    )
    assert groups_of(cluster, f"{connected}_mine") == set()

    opened = database_cluster(connected, allowedMemberships=[root, "pgop_admin", staff])
    kubectl.apply(documents(opened))
    del refused[f"spec.memberOf[{staff}]"]
    assert wait_until(lambda: pending(tenant, name) == refused, timeout=PATIENCE), (
        pending(tenant, name)
    )
    assert groups_of(cluster, f"{connected}_mine") == {staff}

    # Who may pass it on decides over the list.
    declare(tenant, name, connected, memberOf=[{"role": staff, "admin": True}])
    refused = {f"spec.memberOf[{staff}]": "NotAllowed"}
    assert wait_until(lambda: pending(tenant, name) == refused, timeout=PATIENCE)
    assert groups_of(cluster, f"{connected}_mine") == set()

    declare(tenant, name, connected, memberOf=[{"role": staff}])
    tenant.wait(f"databaserole/{name}", "condition=Ready")
    kubectl.apply(documents(database_cluster(connected)))
    assert wait_until(
        lambda: groups_of(cluster, f"{connected}_mine") == set(), timeout=PATIENCE
    )


def test_member_joins_as_soon_as_its_group_is_made_and_leaves_with_the_entry(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    member, group = f"{connected}-member", f"{connected}-group"
    user, joined = f"{connected}_member", f"{connected}_group"
    declare(kubectl, member, connected, memberOf=[{"role": joined}])
    waiting = {f"spec.memberOf[{joined}]": "RoleNotFound"}
    assert wait_until(lambda: pending(kubectl, member) == waiting, timeout=PATIENCE)

    declare(kubectl, group, connected, login=False)
    kubectl.wait(f"databaserole/{member}", "condition=Ready")
    assert groups_of(cluster, user) == {joined}

    declare(kubectl, member, connected)
    assert wait_until(lambda: groups_of(cluster, user) == set(), timeout=PATIENCE)


def test_tenant_gets_no_attribute_or_parameter_that_is_not_listed(
    cluster: LocalCluster, kubectl: Kubectl, tenant: Kubectl, connected: str
) -> None:
    user, name = f"{connected}_mine", f"{connected}-mine"
    with pytest.raises(KubectlError, match="for a superuser is never managed"):
        declare(tenant, name, connected, attributes=["SUPERUSER"])
    wanted = ["CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS"]
    settings = {
        "session_preload_libraries": "evil",
        "session_replication_role": "replica",
        "log_statement": "none",
        "role": "pgop_admin",
    }
    # The database is another tenant's, and not open.
    shop = {"database": f"{connected}_shop", "parameters": {"search_path": "evil"}}
    kubectl.apply(documents(database(f"{connected}-shop", connected)))
    kubectl.wait(f"database/{connected}-shop", "condition=Ready")
    declare(
        tenant,
        name,
        connected,
        attributes=wanted,
        parameters={**settings, "work_mem": "5MB"},
        permissions=[shop],
    )

    refused = {f"spec.attributes[{one}]": "NotAllowed" for one in wanted}
    refused |= {f"spec.parameters[{one}]": "NotAllowed" for one in settings}
    refused[f"spec.permissions[{connected}_shop]"] = "NotAllowed"
    assert wait_until(lambda: pending(tenant, name) == refused, timeout=PATIENCE), (
        pending(tenant, name)
    )
    query = (
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication"
        f" OR rolbypassrls FROM pg_roles WHERE rolname = '{user}'"
    )
    assert administer(cluster, "postgres", query) == [(False,)]
    query = (
        "SELECT setdatabase, setconfig FROM pg_db_role_setting"
        f" WHERE setrole = '{user}'::regrole"
    )
    assert administer(cluster, "postgres", query) == [(0, ["work_mem=5MB"])]


def test_tenant_hands_what_a_role_owned_to_roles_of_its_own_namespace_only(
    cluster: LocalCluster, kubectl: Kubectl, tenant: Kubectl, connected: str
) -> None:
    shop, dbname = f"{connected}-shop", f"{connected}_shop"
    opened = {"from": "Names", "names": [f"{connected}-tenant"]}
    kubectl.apply(
        documents(database(shop, connected, schema="app", allowedNamespaces=opened))
    )
    kubectl.wait(f"database/{shop}", "condition=Ready")
    declare(kubectl, f"{connected}-theirs", connected, login=False)
    kubectl.wait(f"databaserole/{connected}-theirs", "condition=Ready")
    declare(tenant, f"{connected}-heir", connected, login=False)
    tenant.wait(f"databaserole/{connected}-heir", "condition=Ready")

    owners = {}
    for successor in ("theirs", "heir"):
        name = f"{connected}-to-{successor}"
        role = name.replace("-", "_")
        spec = {"deletionPolicy": "Delete", "login": False}
        wanted = f"{connected}_{successor}"
        declare(tenant, name, connected, reassignOwnedTo=wanted, **spec)
        tenant.wait(f"databaserole/{name}", "condition=Ready")
        table = f"left_{successor}"
        administer(
            cluster,
            dbname,
            f"CREATE TABLE app.{table} ()",
            f"ALTER TABLE app.{table} OWNER TO {role}",
        )
        tenant.run("delete", f"databaserole/{name}", "--timeout=60s")
        query = (
            f"SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = '{table}'"
        )
        ((owners[successor],),) = administer(cluster, dbname, query)

    assert owners["heir"] == f"{connected}_heir"
    assert owners["theirs"].startswith("pg-operator:orphans:")
