"""Whose a database or role is: never a foreign one, never two objects' at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

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

REASON: Final = "jsonpath={{.status.conditions[?(@.type=='Ready')].reason}}={}"
# Everything that the server knows of a database or role, but for what vacuum moves.
ROWS: Final = """
SELECT 'database', to_jsonb(d) - 'datfrozenxid' - 'datminmxid',
       shobj_description(oid, 'pg_database'),
       ARRAY(SELECT to_jsonb(s) FROM pg_db_role_setting AS s WHERE setdatabase = d.oid)
FROM pg_database AS d WHERE datname = '{0}'
UNION ALL
SELECT 'role', to_jsonb(r), shobj_description(oid, 'pg_authid'),
       ARRAY(SELECT to_jsonb(m) FROM pg_auth_members AS m WHERE roleid = r.oid)
FROM pg_authid AS r WHERE rolname = '{0}'
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What differs between the rules for Databases and those for DatabaseRoles."""

    resource: str
    declare: Callable[..., dict[str, Any]]
    spec: dict[str, Any]
    change: dict[str, Any]
    create: tuple[str, ...]
    comment: str


KINDS: Final = (
    Kind(
        "database",
        database,
        {"schema": "app", "timezone": "Europe/Berlin"},
        {"schema": "more"},
        (
            "CREATE DATABASE {0} OWNER pgop_admin CONNECTION LIMIT 7",
            "GRANT TEMPORARY ON DATABASE {0} TO pg_monitor",
            "ALTER DATABASE {0} SET timezone TO 'Asia/Tokyo'",
        ),
        "COMMENT ON DATABASE {0} IS {1}",
    ),
    Kind(
        "databaserole",
        database_role,
        {"password": {"name": "login"}},
        {"connectionLimit": 3},
        (
            "CREATE ROLE {0} LOGIN PASSWORD 'made by hand' CONNECTION LIMIT 7",
            "GRANT {0} TO pgop_admin WITH ADMIN OPTION",
        ),
        "COMMENT ON ROLE {0} IS {1}",
    ),
)
both_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource)


@pytest.fixture
def connected(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A DatabaseCluster that is Ready, and a password Secret."""
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(password_secret("login", "ours")))
    return namespace


@pytest.fixture
def other(cluster: LocalCluster, connected: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace."""
    name = f"{connected}-other"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    kubectl.apply(documents(password_secret("login", "theirs")))
    yield kubectl
    kubectl.run("delete", "databases,databaseroles", "--all")
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


def rows(cluster: LocalCluster, name: str) -> list[Any]:
    """All that there is of a name on the server, for comparison."""
    return administer(cluster, "postgres", ROWS.format(name))


def ready(kubectl: Kubectl, target: str, part: str) -> str:
    """Return the reason or message of an object's Ready condition."""
    path = f"jsonpath={{.status.conditions[?(@.type=='Ready')].{part}}}"
    return kubectl.run("get", target, f"--output={path}")


def logs_in(cluster: LocalCluster, user: str, password: str) -> bool:
    """Tell whether a role gets in with a password."""
    try:
        login(cluster, user=user, password=password, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@both_kinds
def test_what_was_made_by_hand_is_never_adopted_altered_or_dropped(
    cluster: LocalCluster, kubectl: Kubectl, connected: str, kind: Kind
) -> None:
    name, target = f"{connected}_x", f"{kind.resource}/{connected}-x"
    statements = [statement.format(name) for statement in kind.create]
    comment = kind.comment.format(name, "'made by hand'")
    administer(cluster, "postgres", *statements, comment)
    before = rows(cluster, name)

    spec = {**kind.spec, "deletionPolicy": "Delete"}
    kubectl.apply(documents(kind.declare(f"{connected}-x", connected, **spec)))
    kubectl.wait(target, REASON.format("AlreadyExists"))
    assert rows(cluster, name) == before

    kubectl.run("delete", target)
    assert rows(cluster, name) == before


@both_kinds
def test_first_of_two_objects_has_the_name_and_the_other_touches_nothing(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, connected: str, kind: Kind
) -> None:
    name, target = f"{connected}_x", f"{kind.resource}/{connected}-x"
    spec = {**kind.spec, "deletionPolicy": "Delete"}
    kubectl.apply(documents(kind.declare(f"{connected}-x", connected, **spec)))
    kubectl.wait(target, "condition=Ready")
    before = rows(cluster, name)

    loser = kind.declare(f"{connected}-x", connected, **{**spec, **kind.change})
    with without_admission(cluster.kubectl):
        other.apply(documents(loser))
    other.wait(target, REASON.format("Conflict"))
    assert f"'{name}'" in ready(other, target, "message")
    other.run("delete", target)

    assert rows(cluster, name) == before
    kubectl.wait(target, "condition=Ready")


@both_kinds
def test_name_that_becomes_free_goes_to_who_waits_for_it(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, connected: str, kind: Kind
) -> None:
    name, target = f"{connected}_x", f"{kind.resource}/{connected}-x"
    spec = {**kind.spec, "deletionPolicy": "Delete"}
    text = documents(kind.declare(f"{connected}-x", connected, **spec))
    kubectl.apply(text)
    kubectl.wait(target, "condition=Ready")
    with without_admission(cluster.kubectl):
        other.apply(text)
    other.wait(target, REASON.format("Conflict"))
    ((_, row, _, _),) = rows(cluster, name)

    kubectl.run("delete", target)
    other.wait(target, "condition=Ready")

    ((_, new_row, _, _),) = rows(cluster, name)
    assert new_row["oid"] != row["oid"]
    if kind.declare is database_role:
        assert logs_in(cluster, name, "theirs")


@both_kinds
def test_of_two_objects_at_once_one_has_the_name(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, connected: str, kind: Kind
) -> None:
    target = f"{kind.resource}/{connected}-x"
    mine = kind.declare(f"{connected}-x", connected, **kind.spec)
    theirs = kind.declare(f"{connected}-x", connected, **kind.spec)
    mine["metadata"]["namespace"] = connected
    theirs["metadata"]["namespace"] = f"{connected}-other"
    cluster.kubectl.apply(documents(mine, theirs))

    def reasons() -> list[str]:
        return sorted(ready(each, target, "reason") for each in (kubectl, other))

    wait_until(lambda: reasons() == ["Conflict", "Reconciled"], timeout=30)
    assert reasons() == ["Conflict", "Reconciled"]


def test_retained_database_is_carried_on_by_its_own_object_only(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, connected: str
) -> None:
    name, target = f"{connected}_x", f"database/{connected}-x"
    text = documents(database(f"{connected}-x", connected, schema="app"))
    kubectl.apply(text)
    kubectl.wait(target, "condition=Ready")
    administer(cluster, name, "CREATE TABLE app.bills AS SELECT 1 AS id")
    kubectl.run("delete", target)
    retained = rows(cluster, name)

    other.apply(text)
    other.wait(target, REASON.format("AlreadyExists"))
    other.run("delete", target)
    assert rows(cluster, name) == retained

    kubectl.apply(text)
    kubectl.wait(target, "condition=Ready")
    assert administer(cluster, name, "SELECT id FROM app.bills") == [(1,)]


@pytest.mark.parametrize("policy", ["Retain", "Disable"])
def test_retained_role_is_carried_on_by_its_own_object_only(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, connected: str, policy: str
) -> None:
    name, target = f"{connected}_x", f"databaserole/{connected}-x"
    spec = {"password": {"name": "login"}, "deletionPolicy": policy}
    text = documents(database_role(f"{connected}-x", connected, **spec))
    kubectl.apply(text)
    kubectl.wait(target, "condition=Ready")
    kubectl.run("delete", target)
    assert logs_in(cluster, name, "ours") == (policy == "Retain")
    retained = rows(cluster, name)

    other.apply(text)
    other.wait(target, REASON.format("AlreadyExists"))
    other.run("delete", target)
    assert rows(cluster, name) == retained

    kubectl.apply(text)
    kubectl.wait(target, "condition=Ready")
    assert logs_in(cluster, name, "ours")
    ((_, row, _, _),), ((_, old, _, _),) = rows(cluster, name), retained
    assert row["oid"] == old["oid"]


@pytest.mark.parametrize(
    "comment",
    [
        "NULL",
        "'owned by the finance team'",
        "'managed by pg-operator; do not edit this comment. v1 k1 AAAA'",
    ],
    ids=["removed", "overwritten", "forged"],
)
@both_kinds
def test_mark_that_somebody_changed_is_put_back_and_the_object_keeps_its_own(
    cluster: LocalCluster,
    kubectl: Kubectl,
    connected: str,
    kind: Kind,
    comment: str,
) -> None:
    name, target = f"{connected}_x", f"{kind.resource}/{connected}-x"
    spec = {**kind.spec, "deletionPolicy": "Delete"}
    kubectl.apply(documents(kind.declare(f"{connected}-x", connected, **spec)))
    kubectl.wait(target, "condition=Ready")

    administer(cluster, "postgres", kind.comment.format(name, comment))
    spec |= kind.change
    kubectl.apply(documents(kind.declare(f"{connected}-x", connected, **spec)))
    kubectl.wait(target, "condition=Ready")
    ((_, _, mark, _),) = rows(cluster, name)
    assert mark.startswith("managed by pg-operator; do not edit")
    assert "AAAA" not in mark.split()[-1][:8]
    kubectl.run("delete", target)

    assert rows(cluster, name) == []
