"""A name belongs to one object, and no order of GitOps is refused for ever."""

from typing import Any

import pytest

from tests.cluster.objects import (
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

APPLYSET = "applyset.kubernetes.io/part-of"


def server_apply(kubectl: Kubectl, *objects: dict[str, Any], dry: bool = False) -> str:
    """Apply as GitOps tools do; return what was said on standard error."""
    options = ["--server-side", *(["--dry-run=server"] if dry else [])]
    done = kubectl("apply", "--filename=-", *options, input=documents(*objects))
    return done.stderr


def named(obj: dict[str, Any], name: str) -> dict[str, Any]:
    """Give an object another name on the server than its own."""
    field = "name" if obj["kind"] == "Database" else "roleName"
    return {**obj, "spec": {**obj["spec"], field: name}}


def pair(suffix: str, cluster: str, name: str) -> list[dict[str, Any]]:
    """A Database and a DatabaseRole of one name on the server."""
    return [
        named(database(suffix, cluster, deletionPolicy="Delete"), name),
        named(database_role(suffix, cluster), name),
    ]


def of_release(obj: dict[str, Any], release: str) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "labels": {APPLYSET: release}}}


def test_second_claimant_of_a_name_is_refused_until_the_first_is_gone(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    connect_cluster(cluster, kubectl, f"{namespace}-alias")
    mine = pair("orders", namespace, namespace)
    kubectl.apply(documents(*mine))
    kubectl.wait("database/orders", "condition=Ready")
    kubectl.wait("databaserole/orders", "condition=Ready")

    for alias in (namespace, f"{namespace}-alias"):
        theirs = pair("mine", alias, namespace)
        taken = (
            f"on DatabaseCluster '{alias}' is already managed by another object; "
            "choose another name or ask the cluster's administrator"
        )
        # Nothing of the other object is told.
        assert server_apply(other, theirs[0]) == (
            f'The Database "mine" is invalid: spec.name: Forbidden: '
            f"database '{namespace}' {taken}\n"
        )
        assert server_apply(other, theirs[1]) == (
            f'The DatabaseRole "mine" is invalid: spec.roleName: Forbidden: '
            f"role '{namespace}' {taken}\n"
        )

    # The owner itself may be applied again, and nobody else is in the way.
    assert server_apply(kubectl, *mine, dry=True).count("Forbidden") == 0
    kubectl.run("delete", "database/orders", "databaserole/orders", "--timeout=30s")
    theirs = pair("mine", namespace, namespace)
    other.apply(documents(*theirs))
    other.wait("database/mine", "condition=Ready")
    other.wait("databaserole/mine", "condition=Ready")


def test_everything_is_tried_before_anything_is_there(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    permission = {"database": namespace, "privileges": ["CONNECT"]}
    commit = [
        database_role(namespace, namespace, permissions=[permission]),
        database(namespace, namespace, schema="public"),
        database_cluster(namespace),
    ]
    said = server_apply(kubectl, *commit, dry=True)
    where = f"DatabaseCluster '{namespace}'"
    no_cluster = f"{where} does not exist; the object is worked on as soon as it does"
    no_database = (
        f"no Database named '{namespace}' is declared on {where}; "
        "it is granted on as soon as one is"
    )
    public = (
        "schema 'public' is in every database; before PostgreSQL 15 every role may "
        "create objects in it"
    )
    expected = (
        f"spec.databaseClusterRef.name: {no_cluster}",
        f"spec.permissions[{namespace}]: {no_database}",
        f"spec.schema: {public}",
    )
    assert set(said.splitlines()) == {f"Warning: {text}" for text in expected}
    kubectl.apply(documents(dsn_secret(namespace, cluster.postgres.admin_dsn)))
    for obj in commit:
        assert "rror" not in server_apply(kubectl, obj)
    kubectl.wait(f"databaserole/{namespace}", "condition=Ready")


def test_commit_that_opens_a_database_and_grants_in_it_is_taken_in_any_order(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    server_apply(kubectl, database(namespace, namespace))
    kubectl.wait(f"database/{namespace}", "condition=Ready")
    there = f"{namespace}-other"
    allowed = {"from": "Names", "names": [there]}
    opened = database(namespace, namespace, allowedNamespaces=allowed)
    permission = {"database": namespace, "privileges": ["CONNECT"]}
    reader = database_role(f"{namespace}-reader", namespace, permissions=[permission])

    closed = f"database '{namespace}' is not open to namespace '{there}'"
    assert closed in server_apply(other, reader, dry=True)
    assert server_apply(kubectl, opened, dry=True) == ""
    assert closed in server_apply(other, reader)
    assert server_apply(kubectl, opened) == ""
    other.wait(f"databaserole/{namespace}-reader", "condition=Ready")


def test_owner_is_warned_of_until_its_role_is_there(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    owned = database(namespace, namespace, owner=namespace)
    member = database_role("app", namespace, memberOf=[{"role": namespace}])
    said = server_apply(kubectl, owned, member, dry=True)
    assert f"Warning: spec.owner: role '{namespace}' is no DatabaseRole" in said
    assert f"Warning: spec.memberOf[{namespace}]: no DatabaseRole" in said

    kubectl.apply(documents(database_role(namespace, namespace)))
    kubectl.wait(f"databaserole/{namespace}", "condition=Ready")
    assert wait_until(
        lambda: server_apply(kubectl, owned, member, dry=True) == "", timeout=30
    )


@pytest.mark.parametrize("change", ["renamed", "moved"])
def test_object_that_is_renamed_or_moved_is_let_in_before_the_old_one_is_pruned(
    cluster: LocalCluster,
    kubectl: Kubectl,
    other: Kubectl,
    namespace: str,
    change: str,
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    role = named(database_role("app", namespace), namespace)
    server_apply(kubectl, of_release(role, "apps"))
    kubectl.wait("databaserole/app", "condition=Ready")

    new = named(database_role("app-2", namespace), namespace)
    place = kubectl if change == "renamed" else other
    for dry in (True, False):
        said = server_apply(place, of_release(new, "apps"), dry=dry)
        assert said.startswith(f"Warning: spec.roleName: role '{namespace}' on "), said
    place.wait("databaserole/app-2", "condition=Ready=False")
    assert _reason(place) == "Conflict"

    kubectl.run("delete", "databaserole/app", "--timeout=30s")
    assert wait_until(lambda: _reason(place) == "Reconciled", timeout=30)


def _reason(kubectl: Kubectl) -> str:
    conditions = kubectl.get("databaserole/app-2")["status"]["conditions"]
    return next(str(one["reason"]) for one in conditions if one["type"] == "Ready")
