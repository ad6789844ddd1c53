"""What deleting an object does on the server, and what holds it up."""

from collections.abc import Iterator
from contextlib import closing
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
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PASSWORD = "login secret"
REASON = "jsonpath={{.status.conditions[?(@.type=='Ready')].reason}}={}"
BLOCKED = REASON.format("DeletionBlocked")
MIGRATIONS = {"name": "app", "privileges": ["USAGE", "CREATE"]}


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready, and the password Secret of every role."""
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(password_secret("login", PASSWORD)))
    return namespace


def declare_database(kubectl: Kubectl, name: str, cluster: str, **spec: Any) -> str:
    """Declare a Database with schema app; return its name on the server."""
    kubectl.apply(documents(database(name, cluster, schema="app", **spec)))
    kubectl.wait(f"database/{name}", "condition=Ready")
    return name.replace("-", "_")


def declare_role(
    kubectl: Kubectl, name: str, cluster: str, *databases: str, **spec: Any
) -> str:
    """Declare a role that may create tables in databases; return its server name."""
    permissions = [
        {"database": dbname, "privileges": ["CONNECT"], "schemas": [MIGRATIONS]}
        for dbname in databases
    ]
    role = database_role(
        name, cluster, password={"name": "login"}, permissions=permissions, **spec
    )
    kubectl.apply(documents(role))
    kubectl.wait(f"databaserole/{name}", "condition=Ready")
    return name.replace("-", "_")


def create_table(cluster: LocalCluster, user: str, dbname: str) -> None:
    """Create a table with a row as one of our roles, which then owns it."""
    with login(cluster, user=user, password=PASSWORD, dbname=dbname) as connection:
        connection.execute("CREATE TABLE app.bills (id int)")
        connection.execute("INSERT INTO app.bills VALUES (1)")


def table_owner(cluster: LocalCluster, dbname: str) -> str:
    """Who owns the table that `create_table` made."""
    query = "SELECT tableowner FROM pg_tables WHERE tablename = 'bills'"
    ((owner,),) = administer(cluster, dbname, query)
    return str(owner)


def role_row(cluster: LocalCluster, role: str) -> list[tuple[bool]]:
    """Whether a role may log in, in no row when there is no such role."""
    query = "SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'"
    return administer(cluster, "postgres", query.format(role))


def database_rows(cluster: LocalCluster, *names: str) -> int:
    """How many of the databases exist."""
    listed = ", ".join(f"'{name}'" for name in names)
    query = f"SELECT datname FROM pg_database WHERE datname IN ({listed})"
    return len(administer(cluster, "postgres", query))


# Roles


def test_role_that_owns_tables_is_disabled_and_keeps_them(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    dbname = declare_database(kubectl, f"{connected}-shop", connected)
    role = declare_role(kubectl, f"{connected}-app", connected, dbname)
    create_table(cluster, role, dbname)

    kubectl.run("delete", "databaserole", f"{connected}-app")

    assert role_row(cluster, role) == [(False,)]
    assert table_owner(cluster, dbname) == role
    query = f"SELECT has_schema_privilege('{role}', 'app', 'CREATE')"
    assert administer(cluster, dbname, query) == [(True,)]


def test_deleted_role_leaves_its_tables_to_a_role_without_rights(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    dbname = declare_database(kubectl, f"{connected}-shop", connected)
    role = declare_role(
        kubectl, f"{connected}-app", connected, dbname, deletionPolicy="Delete"
    )
    create_table(cluster, role, dbname)

    kubectl.run("delete", "databaserole", f"{connected}-app")

    assert role_row(cluster, role) == []
    heir = table_owner(cluster, dbname)
    assert heir.startswith("pg-operator:orphans:")
    query = (
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb"
        f" FROM pg_roles WHERE rolname = '{heir}'"
    )
    assert administer(cluster, dbname, query) == [(False,) * 4]
    assert administer(cluster, dbname, "SELECT id FROM app.bills") == [(1,)]


def test_role_granted_in_several_databases_is_dropped(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    names = [f"{connected}-{word}" for word in ("one", "two", "three")]
    databases = [declare_database(kubectl, name, connected) for name in names]
    role = declare_role(kubectl, f"{connected}-app", connected, *databases)

    kubectl.run("delete", "databaserole", f"{connected}-app")

    assert role_row(cluster, role) == []
    assert database_rows(cluster, *databases) == 3


def test_role_with_a_privilege_from_others_waits_and_says_so(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    target = f"databaserole/{connected}-app"
    role = declare_role(kubectl, f"{connected}-app", connected)
    administer(cluster, "postgres", f"GRANT CREATE ON DATABASE postgres TO {role}")

    kubectl.run("delete", target, "--wait=false")
    kubectl.wait(target, BLOCKED)
    assert "privileges from others" in ready_message(kubectl, target)

    administer(cluster, "postgres", f"REVOKE CREATE ON DATABASE postgres FROM {role}")
    kubectl.wait(target, "delete", timeout=60)
    assert role_row(cluster, role) == []


@pytest.mark.parametrize("policy", ["Delete", "Disable"])
def test_sessions_of_a_deleted_role_are_ended(
    cluster: LocalCluster, kubectl: Kubectl, connected: str, policy: str
) -> None:
    dbname = declare_database(kubectl, f"{connected}-shop", connected)
    role = declare_role(
        kubectl, f"{connected}-app", connected, dbname, deletionPolicy=policy
    )
    session = login(cluster, user=role, password=PASSWORD, dbname=dbname)

    with closing(session):
        kubectl.run("delete", "databaserole", f"{connected}-app")

        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


@pytest.mark.parametrize(
    "order", [("databaserole", "database"), ("database", "databaserole")]
)
def test_role_and_its_database_are_both_dropped_in_either_order(
    cluster: LocalCluster, kubectl: Kubectl, connected: str, order: tuple[str, str]
) -> None:
    dbname = declare_database(
        kubectl, f"{connected}-shop", connected, deletionPolicy="Delete"
    )
    role = declare_role(
        kubectl, f"{connected}-app", connected, dbname, deletionPolicy="Delete"
    )
    create_table(cluster, role, dbname)

    names = {"databaserole": f"{connected}-app", "database": f"{connected}-shop"}
    kubectl.run("delete", *(f"{kind}/{names[kind]}" for kind in order))

    assert role_row(cluster, role) == []
    assert database_rows(cluster, dbname) == 0


# Databases


def test_database_with_an_open_session_is_dropped(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    dbname = declare_database(
        kubectl, f"{connected}-shop", connected, deletionPolicy="Delete"
    )
    role = declare_role(kubectl, f"{connected}-app", connected, dbname)
    session = login(cluster, user=role, password=PASSWORD, dbname=dbname)

    with closing(session):
        kubectl.run("delete", "database", f"{connected}-shop")

    assert database_rows(cluster, dbname) == 0


@pytest.fixture
def logical_replication(cluster: LocalCluster) -> Iterator[None]:
    """The server with logical replication and prepared transactions allowed."""
    settings = {"wal_level": "logical", "max_prepared_transactions": "5"}
    administer(
        cluster,
        "postgres",
        *(f"ALTER SYSTEM SET {name} = {value}" for name, value in settings.items()),
    )
    restart(cluster)
    yield
    drops = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    administer(cluster, "postgres", drops)
    prepared = "SELECT database, gid FROM pg_prepared_xacts"
    for dbname, gid in administer(cluster, "postgres", prepared):
        administer(cluster, dbname, f"ROLLBACK PREPARED '{gid}'")
    administer(
        cluster, "postgres", *(f"ALTER SYSTEM RESET {name}" for name in settings)
    )
    restart(cluster)


def restart(cluster: LocalCluster) -> None:
    """Stop the server and start it again."""
    cluster.postgres.stop()
    cluster.postgres.start()


@pytest.mark.usefixtures("logical_replication")
def test_database_that_cannot_be_dropped_waits_and_says_why(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    target = f"database/{connected}-shop"
    dbname = declare_database(
        kubectl, f"{connected}-shop", connected, deletionPolicy="Delete"
    )
    administer(
        cluster,
        dbname,
        f"SELECT pg_create_logical_replication_slot('{connected}', 'pgoutput')",
        "BEGIN",
        "CREATE TABLE app.bills (id int)",
        f"PREPARE TRANSACTION '{connected}'",
    )
    password = cluster.postgres.superuser_password
    session = login(cluster, user="postgres", password=password, dbname=dbname)

    with closing(session):
        kubectl.run("delete", target, "--wait=false")
        kubectl.wait(target, BLOCKED)
        message = ready_message(kubectl, target)
        assert "replication slots: 1" in message
        assert "prepared transactions: 1" in message
        assert "sessions that the operator's login may not end: 1" in message
        session.execute(f"SELECT pg_drop_replication_slot('{connected}')")
        session.execute(f"ROLLBACK PREPARED '{connected}'")
        session.execute("CREATE TABLE app.still_writable ()")

    kubectl.wait(target, "delete", timeout=60)
    assert database_rows(cluster, dbname) == 0


def ready_message(kubectl: Kubectl, target: str) -> str:
    """What the Ready condition of an object says."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    return kubectl.run("get", target, f"--output={path}")


# Clusters and namespaces


def test_cluster_waits_for_its_objects_and_serves_only_them(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    target = f"databasecluster/{connected}"
    shop, late = f"{connected}-shop", f"{connected}-late"
    dbname = declare_database(kubectl, shop, connected)

    kubectl.run("delete", target, "--wait=false")
    kubectl.wait(target, BLOCKED)
    assert "Databases and DatabaseRoles" in ready_message(kubectl, target)
    kubectl.apply(documents(database(shop, connected, schema="more")))
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname = 'more'"
    assert wait_until(
        lambda: administer(cluster, dbname, schemas) == [("more",)], timeout=30
    )
    kubectl.apply(documents(database(late, connected)))
    kubectl.wait(f"database/{late}", REASON.format("ClusterTerminating"))

    kubectl.run("delete", f"database/{shop}", f"database/{late}")
    kubectl.wait(target, "delete")
    assert database_rows(cluster, dbname, late.replace("-", "_")) == 1


def test_cluster_without_its_secret_waits_for_its_objects_and_says_so(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    target = f"databasecluster/{connected}"
    declare_database(kubectl, f"{connected}-shop", connected)
    kubectl.run("delete", "secret", connected, "--namespace=pg-operator-system")
    kubectl.wait(target, "condition=Available=False")

    kubectl.run("delete", target, "--wait=false")

    kubectl.wait(target, BLOCKED)
    kubectl.run("delete", f"database/{connected}-shop")
    kubectl.wait(target, "delete")


@pytest.fixture
def inner(cluster: LocalCluster, connected: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace, which the test deletes."""
    name = f"{connected}-inner"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    kubectl.apply(documents(password_secret("login", PASSWORD)))
    yield kubectl
    for kinds in ("databases", "databaseroles"):
        kubectl("annotate", kinds, "--all", "pg-operator.dev/release=true")
    cluster.kubectl.run("delete", "namespace", name, "--ignore-not-found")


@pytest.fixture
def stopped_webhook(cluster: LocalCluster) -> Iterator[None]:
    """No webhook: whatever the API server would ask it is refused."""
    cluster.webhook.kill()
    yield
    cluster.webhook.start()


@pytest.mark.parametrize("has_webhook", [True, False])
def test_namespace_with_everything_in_it_goes(
    request: pytest.FixtureRequest,
    cluster: LocalCluster,
    connected: str,
    inner: Kubectl,
    *,
    has_webhook: bool,
) -> None:
    spec = {"databaseServiceName": "pg"}
    kept = declare_database(inner, f"{connected}-kept", connected, **spec)
    dropped = declare_database(
        inner, f"{connected}-dropped", connected, deletionPolicy="Delete", **spec
    )
    role = declare_role(inner, f"{connected}-app", connected, kept, dropped)
    create_table(cluster, role, dropped)
    if not has_webhook:
        request.getfixturevalue("stopped_webhook")

    cluster.kubectl.run("delete", "namespace", f"{connected}-inner")

    assert database_rows(cluster, kept) == 1
    assert database_rows(cluster, dropped) == 0
    assert role_row(cluster, role) == []
