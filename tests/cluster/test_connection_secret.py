"""The Secret to connect from: made, followed, replaced, and gone with its field."""

import base64
from typing import Any

import psycopg
import pytest

from tests.cluster.objects import (
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

PATIENCE = 60
CONNECTION = "connection"
OPEN_DATABASE = "postgres"


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready."""
    connect_cluster(cluster, kubectl, namespace)
    return namespace


def declare(kubectl: Kubectl, namespace: str, **spec: Any) -> str:
    """Apply the role and return it as kubectl names it."""
    kubectl.apply(documents(database_role(f"{namespace}-r", namespace, **spec)))
    return f"databaserole/{namespace}-r"


def generated(**secret: Any) -> dict[str, Any]:
    """Return the part of a spec that asks for a password."""
    wanted = {"name": CONNECTION, "database": OPEN_DATABASE, **secret}
    return {"generatePassword": True, "connectionSecret": wanted}


def entries(kubectl: Kubectl, name: str = CONNECTION) -> dict[str, str]:
    """Return what stands in a Secret; nothing when there is none."""
    if kubectl.run("get", "secret", name, "--ignore-not-found", "--output=name") == "":
        return {}
    data = kubectl.get("secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def can_log_in(cluster: LocalCluster, namespace: str, password: str) -> bool:
    """Tell whether the role logs in with a password."""
    try:
        login(
            cluster, user=f"{namespace}_r", password=password, dbname=OPEN_DATABASE
        ).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def reason(kubectl: Kubectl, target: str) -> str:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
    return kubectl.run("get", target, f"--output={path}")


def test_generated_password_works_is_replaced_on_demand_and_goes_with_its_role(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    target = declare(kubectl, connected, **generated())
    kubectl.wait(target, "condition=Ready")
    first = entries(kubectl)
    assert first["username"] == f"{connected}_r"
    # As an application would; the bed's server has no TLS and listens on loopback.
    with psycopg.connect(first["uri"], hostaddr="127.0.0.1") as connection:
        assert connection.info.dbname == OPEN_DATABASE
    binding = kubectl.get(target.replace("/", " ").split()[0], f"{connected}-r")
    assert binding["status"]["binding"] == {"name": CONNECTION}

    rotate = f"pg-operator.dev/rotate={connected}"
    kubectl.run("annotate", target, rotate)
    assert wait_until(
        lambda: entries(kubectl)["password"] != first["password"], timeout=PATIENCE
    )
    second = entries(kubectl)["password"]
    assert wait_until(lambda: can_log_in(cluster, connected, second), timeout=PATIENCE)
    assert not can_log_in(cluster, connected, first["password"])

    # It is the truth: lost, there is a new one.
    kubectl.run("delete", "secret", CONNECTION)
    assert wait_until(
        lambda: entries(kubectl).get("password", second) != second, timeout=PATIENCE
    )
    third = entries(kubectl)["password"]
    assert wait_until(lambda: can_log_in(cluster, connected, third), timeout=PATIENCE)

    kubectl.run("delete", target)
    assert wait_until(lambda: entries(kubectl) == {}, timeout=PATIENCE)


def test_connection_secret_follows_what_it_says_and_goes_with_its_field(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    dbname = f"{connected}_shop"
    shop = database(f"{connected}-shop", connected, databaseServiceName="shop-db")
    kubectl.apply(documents(shop, password_secret("given", "first")))
    kubectl.wait(f"database/{connected}-shop", "condition=Ready")
    spec = {
        "password": {"name": "given"},
        "permissions": [{"database": dbname, "privileges": ["CONNECT"]}],
    }
    published = {"name": CONNECTION, "host": "Service"}
    target = declare(kubectl, connected, connectionSecret=published, **spec)
    kubectl.wait(target, "condition=Ready")
    found = entries(kubectl)
    assert (found["host"], found["database"]) == (
        f"shop-db.{connected}.svc",
        dbname,
    )
    assert found["password"] == "first"

    kubectl.apply(documents(password_secret("given", "second")))
    assert wait_until(
        lambda: entries(kubectl)["password"] == "second", timeout=PATIENCE
    )
    elsewhere = {"name": "other", "database": OPEN_DATABASE}
    declare(kubectl, connected, connectionSecret=elsewhere, **spec)
    assert wait_until(lambda: entries(kubectl) == {}, timeout=PATIENCE)
    assert entries(kubectl, "other")["database"] == OPEN_DATABASE

    declare(kubectl, connected, **spec)
    assert wait_until(lambda: entries(kubectl, "other") == {}, timeout=PATIENCE)
    kubectl.wait(target, "condition=Ready")
    assert can_log_in(cluster, connected, "second")


def test_secret_of_somebody_else_is_never_written(
    cluster: LocalCluster, kubectl: Kubectl, connected: str
) -> None:
    theirs = declare(kubectl, connected, **generated(name="theirs"))
    kubectl.wait(theirs, "condition=Ready")
    kubectl.apply(documents(password_secret("foreign", "un7ouched-by-us")))
    before = {name: entries(kubectl, name) for name in ("theirs", "foreign")}

    for name in before:
        thief = f"{connected}-{name}"
        kubectl.apply(
            documents(database_role(thief, connected, **generated(name=name)))
        )
        assert wait_until(
            lambda: reason(kubectl, f"databaserole/{thief}") == "SecretConflict",  # noqa: B023
            timeout=PATIENCE,
        )
        kubectl.run("delete", f"databaserole/{thief}")

    assert {name: entries(kubectl, name) for name in before} == before
    # Nothing was made for them on the server either.
    assert can_log_in(cluster, connected, before["theirs"]["password"])
