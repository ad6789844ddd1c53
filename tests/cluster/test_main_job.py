"""From `kubectl apply` to a login that can do what is granted, and nothing else."""

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


def test_role_does_what_is_granted_and_nothing_else(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    orders, reader = f"{namespace}-orders", f"{namespace}-reader"
    kubectl.apply(documents(database(orders, namespace, schema="app")))
    kubectl.wait(f"database/{orders}", "condition=Ready")
    dbname = f"{namespace}_orders"
    administer(
        cluster,
        dbname,
        "SET ROLE pgop_admin",
        "CREATE TABLE app.invoices (id int)",
        "INSERT INTO app.invoices VALUES (1)",
    )

    permissions = [
        {
            "database": dbname,
            "privileges": ["CONNECT"],
            "schemas": [
                {
                    "name": "app",
                    "privileges": ["USAGE"],
                    "tables": [{"name": "*", "privileges": ["SELECT", "INSERT"]}],
                }
            ],
        }
    ]
    kubectl.apply(
        documents(
            password_secret("reader-password", "first secret"),
            database_role(
                reader,
                namespace,
                password={"name": "reader-password"},
                permissions=permissions,
            ),
        )
    )
    kubectl.wait(f"databaserole/{reader}", "condition=Ready")

    user = f"{namespace}_reader"
    with login(
        cluster, user=user, password="first secret", dbname=dbname
    ) as connection:
        assert connection.execute("SELECT id FROM app.invoices").fetchall() == [(1,)]
        connection.execute("INSERT INTO app.invoices VALUES (2)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM app.invoices")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE app.mine ()")
    with pytest.raises(psycopg.OperationalError, match="password authentication"):
        login(cluster, user=user, password="wrong", dbname=dbname)
