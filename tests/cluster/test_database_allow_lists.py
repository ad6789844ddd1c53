"""What a tenant sets on databases: harmless things only, and none left behind."""

from typing import Any

import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    documents,
    dsn_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 30


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready, on which the operator is a superuser."""
    secret = dsn_secret(namespace, cluster.postgres.superuser_dsn)
    kubectl.apply(documents(secret, database_cluster(namespace)))
    kubectl.wait(f"databasecluster/{namespace}", "condition=Ready")
    return namespace


def message(kubectl: Kubectl, target: str) -> str:
    """Return the message of an object's Ready condition."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    return kubectl.run("get", target, f"--output={path}")


def settings(cluster: LocalCluster, dbname: str) -> list[str]:
    """Return what is set for a database."""
    rows = administer(
        cluster,
        "postgres",
        "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0 AND"
        f" setdatabase = (SELECT oid FROM pg_database WHERE datname = '{dbname}')",
    )
    return sorted(setting for (setting,) in rows)


def test_tenant_cannot_set_what_only_superusers_may_until_it_is_allowed(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    name, target = f"{connected}_db", f"database/{connected}-db"
    harmful = {
        "session_replication_role": "replica",
        "session_preload_libraries": "auto_explain",
        "role": "postgres",
        "session_authorization": "postgres",
        "no.such": "thing",
    }

    def declare(**parameters: Any) -> None:
        kubectl.apply(
            documents(
                database(target.partition("/")[2], connected, parameters=parameters)
            )
        )

    declare(work_mem="8MB", **harmful)

    assert wait_until(
        lambda: message(kubectl, target).count("that every user may set") == 5,
        timeout=PATIENCE,
    ), message(kubectl, target)
    assert settings(cluster, name) == ["work_mem=8MB"]

    allowed = '{"spec": {"allowedParameters": ["session_replication_role"]}}'
    kubectl.run(
        "patch", f"databasecluster/{connected}", "--type=merge", f"--patch={allowed}"
    )
    assert wait_until(
        lambda: "session_replication_role=replica" in settings(cluster, name),
        timeout=PATIENCE,
    )

    # What leaves the spec is reset; what an administrator set by hand stays.
    administer(cluster, "postgres", f"ALTER DATABASE {name} SET jit TO off")
    declare(search_path="app, public")
    kubectl.wait(target, "condition=Ready")
    assert settings(cluster, name) == ["jit=off", "search_path=app, public"]


def test_closed_database_and_one_without_connections_say_so(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    """The operator's login is no superuser here: limits hold for it."""
    connect_cluster(cluster, kubectl, namespace)
    name, target = f"{namespace}_db", f"database/{namespace}-db"
    parked = database(f"{namespace}-db", namespace, schema="app", connectionLimit=0)
    kubectl.apply(documents(parked))
    kubectl.wait(target, "condition=Ready")

    administer(cluster, "postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    kubectl.run("annotate", target, "pg-operator.dev/look=again")

    assert wait_until(
        lambda: "somebody closed the database" in message(kubectl, target),
        timeout=PATIENCE,
    ), message(kubectl, target)
    administer(cluster, "postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    # What happened while it was closed can only be seen with a connection.
    parked["spec"]["connectionLimit"] = 5
    kubectl.apply(documents(parked))
    kubectl.wait(target, "condition=Ready")


def test_tenant_cannot_have_an_extension_that_is_not_trusted_until_it_is_allowed(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    """`pageinspect` reads what row security hides; `file_fdw` the server's files."""
    name, target = f"{connected}_db", f"database/{connected}-db"

    def declare(*extensions: str) -> None:
        entries = [{"name": each, "schema": "public"} for each in extensions]
        kubectl.apply(
            documents(database(f"{connected}-db", connected, extensions=entries))
        )

    def installed() -> set[str]:
        rows = administer(cluster, name, "SELECT extname FROM pg_extension")
        return {each for (each,) in rows} - {"plpgsql"}

    declare("pg_trgm", "pageinspect", "file_fdw")
    assert wait_until(
        lambda: message(kubectl, target).count("trusts everybody with") == 2,
        timeout=PATIENCE,
    ), message(kubectl, target)
    assert installed() == {"pg_trgm"}

    allowed = '{"spec": {"allowedExtensions": ["pageinspect"]}}'
    kubectl.run(
        "patch", f"databasecluster/{connected}", "--type=merge", f"--patch={allowed}"
    )
    assert wait_until(
        lambda: installed() == {"pg_trgm", "pageinspect"}, timeout=PATIENCE
    )

    declare("pg_trgm")
    kubectl.wait(target, "condition=Ready")
    assert installed() == {"pg_trgm", "pageinspect"}
    assert wait_until(
        lambda: "pageinspect" in kubectl.run("events", f"--for={target}"),
        timeout=PATIENCE,
    )
