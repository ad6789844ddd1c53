"""What the operator's login lacks is said before anybody needs it."""

from dataclasses import replace
from typing import Any

import pytest

from pg_operator.api.conditions import Reason
from pg_operator.plan.rights import missing_rights, open_door
from pg_operator.reconcilers import cluster as cluster_reconciler
from tests.unit.plan_examples import server

PG15 = 150000
LACKING = {
    "create_database": "CREATEDB",
    "create_role": "CREATEROLE",
    "set_passwords": "GRANT rds_password TO pgop_admin",
    "inherits": "INHERIT",
}


def without(field: str) -> dict[str, Any]:
    return {field: False}


def test_login_with_what_it_needs_lacks_nothing() -> None:
    assert missing_rights(server(), max_connections=4) == ()


@pytest.mark.parametrize(("field", "remedy"), LACKING.items())
def test_each_missing_right_is_named_with_its_remedy(field: str, remedy: str) -> None:
    lacking = replace(server(version=PG15), **without(field))
    (sentence,) = missing_rights(lacking, max_connections=4)
    assert sentence.endswith(remedy)


@pytest.mark.parametrize("field", LACKING)
def test_superuser_lacks_no_right(field: str) -> None:
    lacking = replace(server(version=PG15, superuser=True), **without(field))
    assert missing_rights(lacking, max_connections=4) == ()


def test_login_that_does_not_inherit_may_where_memberships_say_so_themselves() -> None:
    noinherit = replace(server(version=160000), inherits=False)
    assert missing_rights(noinherit, max_connections=4) == ()


@pytest.mark.parametrize(("limit", "enough"), [(-1, True), (4, True), (3, False)])
def test_connection_limit_below_what_the_operator_uses_is_named(
    limit: int, *, enough: bool
) -> None:
    limited = replace(server(superuser=True), connection_limit=limit)
    assert (missing_rights(limited, max_connections=4) == ()) is enough


def test_cluster_whose_login_lacks_rights_is_available_and_not_ready() -> None:
    cluster: dict[str, Any] = {"spec": {"connection": {"name": "dsn"}}}
    lacking = replace(server(), create_database=False, create_role=False)
    available = cluster_reconciler._available(lacking, cluster, database="postgres")
    assert (available.status, available.reason) == ("True", Reason.MISSING_PRIVILEGES)
    assert "CREATEDB" in available.message
    assert "CREATEROLE" in available.message
    ready, _ = cluster_reconciler._ready(available, deleting=False)
    assert (ready.type, ready.status) == ("Ready", "False")
    assert ready.message == available.message


def test_cluster_whose_own_database_is_open_says_so_and_is_ready() -> None:
    cluster: dict[str, Any] = {"spec": {"connection": {"name": "dsn"}}}
    visited = replace(server(), visitors=("PUBLIC",))
    available = cluster_reconciler._available(visited, cluster, database="ops")
    assert available.reason == Reason.CONNECTED
    assert "REVOKE CONNECT ON DATABASE ops FROM PUBLIC" in available.message


def test_door_that_is_shut_is_not_warned_of() -> None:
    assert open_door(server(), database="ops") == ""


def test_few_of_many_visitors_are_named() -> None:
    visited = replace(server(), visitors=tuple("abcde"))
    assert "a, b, c and 2 more may connect" in open_door(visited, database="ops")
