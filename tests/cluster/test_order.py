"""Objects may come in any order: each says what it waits for, and carries on."""

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    login,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import wait_until

PASSWORD = "pass in any order"
KINDS = "databaseclusters,databases,databaseroles"
Documents = Mapping[str, tuple[dict[str, Any], ...]]


def everything(bed: LocalCluster, name: str) -> Documents:
    """The documents of one role's whole world, by what they are."""
    role = database_role(
        name,
        name,
        password={"name": f"{name}-password"},
        permissions=[
            {
                "database": _in_postgresql(name),
                "privileges": ["CONNECT"],
                "schemas": [{"name": "app", "privileges": ["USAGE"]}],
            }
        ],
    )
    return {
        "role": (role,),
        "database": (database(name, name, schema="app", deletionPolicy="Delete"),),
        # One connection for all there is to do: no order may need a second.
        "cluster": (database_cluster(name, maxConnections=1),),
        "secrets": (
            dsn_secret(name, bed.postgres.admin_dsn),
            password_secret(f"{name}-password", PASSWORD),
        ),
    }


def expected_reason(kind: str, applied: Collection[str]) -> str:
    """What an object of `everything` says while only `applied` is there."""
    if kind == "DatabaseCluster":
        return "Connected" if "secrets" in applied else "SecretNotFound"
    if "cluster" not in applied:
        return "ClusterNotFound"
    if "secrets" not in applied:
        return "ClusterUnavailable"
    if kind == "DatabaseRole" and "database" not in applied:
        return "PartiallyApplied"
    return "Reconciled"


def reasons(kubectl: Kubectl, prefix: str) -> dict[tuple[str, str], str]:
    """The reason of each object's Ready condition, by kind and name."""
    found = {}
    for obj in kubectl.get(KINDS)["items"]:
        conditions = obj.get("status", {}).get("conditions", [])
        ready = [one["reason"] for one in conditions if one["type"] == "Ready"]
        name = obj["metadata"]["name"]
        if name.startswith(prefix):
            found[obj["kind"], name] = ready[0] if ready else ""
    return found


def test_every_order_of_applying_one_by_one_ends_ready(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    parts = ("role", "database", "cluster", "secrets")
    orders = dict(enumerate(itertools.permutations(parts)))
    worlds = {number: everything(cluster, f"{namespace}-{number}") for number in orders}
    for step in range(1, len(parts) + 1):
        kubectl.apply(
            documents(
                *(
                    document
                    for number, order in orders.items()
                    for document in worlds[number][order[step - 1]]
                )
            )
        )
        expected = {
            (document["kind"], document["metadata"]["name"]): expected_reason(
                document["kind"], order[:step]
            )
            for number, order in orders.items()
            for part in order[:step]
            for document in worlds[number][part]
            if document["kind"] != "Secret"
        }
        wait_until(lambda: reasons(kubectl, namespace) == expected, timeout=60)  # noqa: B023
        assert reasons(kubectl, namespace) == expected

    objects = [
        obj
        for obj in kubectl.get(KINDS)["items"]
        if obj["metadata"]["name"].startswith(namespace)
    ]
    assert len(objects) == 3 * len(orders)
    assert {obj["metadata"]["generation"] for obj in objects} == {1}
    for number in orders:
        user = _in_postgresql(f"{namespace}-{number}")
        login(cluster, user=user, password=PASSWORD, dbname=user).close()


@pytest.mark.parametrize("order", ["role first", "role last"])
def test_one_apply_with_the_documents_in_any_order_ends_ready(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, order: str
) -> None:
    parts = list(itertools.chain(*everything(cluster, namespace).values()))
    if order == "role last":
        parts.reverse()
    kubectl.apply(documents(*parts))

    for target in _targets(namespace):
        kubectl.wait(target, "condition=Ready")
    user = _in_postgresql(namespace)
    login(cluster, user=user, password=PASSWORD, dbname=user).close()


def test_server_side_dry_run_of_everything_makes_nothing_and_apply_follows(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    parts = list(itertools.chain(*everything(cluster, namespace).values()))
    manifest = documents(*parts)

    said = kubectl.apply(manifest, "--dry-run=server")
    assert said.count("created (server dry run)") == len(parts)
    assert kubectl.run("get", "databases,databaseroles", "--output=name") == ""

    kubectl.apply(manifest)
    for target in _targets(namespace):
        kubectl.wait(target, "condition=Ready")


def test_waiting_objects_say_what_for_and_what_will_happen(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    parts = everything(cluster, namespace)
    role, name = f"databaserole/{namespace}", _in_postgresql(namespace)

    kubectl.apply(documents(*parts["role"]))
    _says(
        kubectl,
        role,
        f"spec.databaseClusterRef.name: DatabaseCluster '{namespace}' does not exist; "
        "the object is worked on as soon as it does",
    )
    kubectl.apply(documents(*parts["cluster"]))
    _says(
        kubectl,
        f"databasecluster/{namespace}",
        f"Secret '{OPERATOR_NAMESPACE}/{namespace}' does not exist; create it with "
        "the DSN under key 'connection'",
    )
    _says(
        kubectl,
        role,
        f"DatabaseCluster '{namespace}' is not available; its conditions say why, and "
        "the object is worked on as soon as it is",
    )
    dsn, password = parts["secrets"]
    kubectl.apply(documents(dsn))
    _says(
        kubectl,
        role,
        f"spec.password.name: Secret '{namespace}-password' does not exist in this "
        "namespace; create it with the password under key 'password'",
    )
    assert not _exists(cluster, name)
    kubectl.apply(documents(password))
    _says(
        kubectl,
        role,
        f"spec.permissions[{name}]: no Database named '{name}' is declared on "
        f"DatabaseCluster '{namespace}'; it is granted on as soon as one is",
    )
    assert _exists(cluster, name)
    kubectl.apply(documents(*parts["database"]))
    _says(kubectl, role, f"role '{name}' is as declared")


def test_objects_of_a_cluster_that_never_was_can_be_deleted(
    kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(
        documents(
            database(namespace, "misspelt", deletionPolicy="Delete"),
            database_role(namespace, "misspelt", deletionPolicy="Delete"),
        )
    )
    targets = (f"database/{namespace}", f"databaserole/{namespace}")
    for target in targets:
        kubectl.wait(target, "condition=Ready=False")

    kubectl.run("delete", *targets, "--timeout=30s")


def _targets(name: str) -> list[str]:
    return [f"{kind}/{name}" for kind in KINDS.split(",")]


def _in_postgresql(name: str) -> str:
    return name.replace("-", "_")


def _exists(bed: LocalCluster, role: str) -> bool:
    query = f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"
    return bool(administer(bed, "postgres", query))


def _says(kubectl: Kubectl, target: str, message: str) -> None:
    """Wait until an object's Ready condition has this very message."""
    path = '{.status.conditions[?(@.type=="Ready")].message}'

    def said() -> str:
        return kubectl.run("get", target, f"--output=jsonpath={path}")

    wait_until(lambda: said() == message, timeout=30)
    assert said() == message
