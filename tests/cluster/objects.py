"""The objects that tests apply, and logins as the roles they declare."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
import yaml
from psycopg import pq, sql

from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.postgres import ADMIN, HOST, PostgresServer


class HasPostgres(Protocol):
    """A bed, whatever else it has."""

    postgres: PostgresServer


API_VERSION = "pg-operator.dev/v1alpha1"
# What kubectl is told of the Lease that controllers elect by.
LEASE = ("lease", "pg-operator-controller", f"--namespace={OPERATOR_NAMESPACE}")


def dsn_secret(name: str, dsn: str) -> dict[str, Any]:
    """A DSN Secret in the operator's namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
        "stringData": {"connection": dsn},
    }


def database_cluster(name: str, **spec: Any) -> dict[str, Any]:
    """A DatabaseCluster whose Secret has its own name."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DatabaseCluster",
        "metadata": {"name": name},
        "spec": {"connection": {"name": name}, **spec},
    }


def database(name: str, cluster: str, **spec: Any) -> dict[str, Any]:
    """A Database; its PostgreSQL name is its own with underscores."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Database",
        "metadata": {"name": name},
        "spec": {
            "name": name.replace("-", "_"),
            "databaseClusterRef": {"name": cluster},
            **spec,
        },
    }


def database_role(name: str, cluster: str, **spec: Any) -> dict[str, Any]:
    """A DatabaseRole; its PostgreSQL name is its own with underscores."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DatabaseRole",
        "metadata": {"name": name},
        "spec": {
            "roleName": name.replace("-", "_"),
            "databaseClusterRef": {"name": cluster},
            **spec,
        },
    }


def password_secret(name: str, password: str) -> dict[str, Any]:
    """A Secret that a DatabaseRole takes its password from."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"password": password},
    }


def documents(*objects: dict[str, Any]) -> str:
    """Write objects as one YAML stream."""
    return yaml.safe_dump_all(objects)


def connect_cluster(bed: LocalCluster, kubectl: Kubectl, name: str) -> None:
    """Make a DatabaseCluster for the bed's PostgreSQL and wait until it is Ready."""
    connect_server(kubectl, name, bed.postgres.admin_dsn)


def connect_server(kubectl: Kubectl, name: str, dsn: str, **spec: Any) -> None:
    """Make a DatabaseCluster for a server and wait until it is Ready."""
    kubectl.apply(documents(dsn_secret(name, dsn), database_cluster(name, **spec)))
    kubectl.wait(f"databasecluster/{name}", "condition=Ready")


def login(
    bed: HasPostgres, *, user: str, password: str, dbname: str
) -> "psycopg.Connection[Any]":
    """Log in to the bed's PostgreSQL over TCP, in autocommit."""
    return psycopg.connect(
        host=HOST,
        port=bed.postgres.port,
        user=user,
        password=password,
        dbname=dbname,
        autocommit=True,
        connect_timeout=5,
    )


def administer(bed: HasPostgres, dbname: str, *statements: str) -> list[Any]:
    """Run statements as the superuser; return the last one's rows."""
    with login(
        bed,
        user="postgres",
        password=bed.postgres.superuser_password,
        dbname=dbname,
    ) as connection:
        rows: list[Any] = []
        for statement in statements:
            cursor = connection.execute(sql.SQL(statement))
            result = cursor.pgresult
            # Not by its columns: SELECT FROM has rows, too.
            has_rows = result and result.status == pq.ExecStatus.TUPLES_OK
            rows = cursor.fetchall() if has_rows else []
        return rows


@contextmanager
def busy_role(bed: HasPostgres, kubectl: Kubectl, name: str) -> Iterator[None]:
    """Make a DatabaseRole of a DatabaseCluster of its name that waits in the block."""
    with psycopg.connect(bed.postgres.superuser_dsn) as blocker:
        # What CREATE ROLE writes to.
        blocker.execute("LOCK TABLE pg_catalog.pg_authid IN EXCLUSIVE MODE")
        kubectl.apply(documents(database_role(name, name)))
        reason = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
        kubectl.wait(f"pgrole/{name}", f"{reason}=ServerBusy", timeout=60)
        yield


def log_statements(bed: HasPostgres) -> None:
    """Have every statement of the operator's login logged that it does not keep out.

    Nobody else's are. What it may keep out is what is stored of passwords.
    """
    administer(
        bed,
        "postgres",
        f"ALTER ROLE {ADMIN} SET log_statement = 'all'",
        f"GRANT SET ON PARAMETER log_statement, log_min_error_statement TO {ADMIN}",
    )
