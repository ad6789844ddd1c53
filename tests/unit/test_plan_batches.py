"""How a plan is cut into transactions, and how it reads."""

from typing import get_args

import pytest

from pg_operator.api.secret import SecretText
from pg_operator.plan.batches import Batch, Plan, pieces
from pg_operator.plan.grants import Securable
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterExtensionSchema,
    AlterExtensionVersion,
    AlterRole,
    AlterSchemaOwner,
    CreateDatabase,
    CreateExtension,
    CreateRole,
    CreateSchema,
    DropDatabase,
    DropOwned,
    DropRole,
    GrantMembership,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ReassignOwned,
    ResetDatabaseParameter,
    RevokeMembership,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
    SetRoleAttribute,
    SetRoleParameter,
    TerminateSessions,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import Mark, Membership, Password, RoleParameter
from tests.unit.plan_examples import DATABASE, ROLE, securables

TABLES = securables("table", "orders", ("a", "b", "c"), "app")
COLUMN = Securable("column", "orders", "app", "b", "id")
PASSWORD = Password("fingerprint", SecretText("correct horse"))
# Every operation, how it reads, and where it runs: database and lock.
OPERATIONS: tuple[tuple[Operation, str, str | None, str | None], ...] = (
    (
        CreateDatabase("orders", "UTF8", 7),
        "create database orders, closed to connections",
        None,
        None,
    ),
    (
        AlterDatabase("orders", allow_connections=True, connection_limit=-1),
        "open and set connection limit -1 on database orders",
        None,
        "database:orders",
    ),
    (
        AlterDatabaseOwner("orders", "app"),
        "give database orders to role app",
        None,
        "database:orders",
    ),
    (
        SetDatabaseParameter("orders", "timezone", "UTC"),
        "set timezone of database orders to UTC",
        None,
        "database:orders",
    ),
    (
        ResetDatabaseParameter("orders", "work_mem"),
        "reset work_mem of database orders",
        None,
        "database:orders",
    ),
    (
        MarkDatabase("orders", Mark(DATABASE)),
        "mark database orders managed",
        None,
        "database:orders",
    ),
    (
        RevokePublicOnDatabase("orders", ("CONNECT", "TEMPORARY")),
        "revoke CONNECT, TEMPORARY on database orders from PUBLIC",
        None,
        "database:orders",
    ),
    (DropDatabase("orders"), "drop database orders", None, None),
    (
        CreateSchema("orders", "app"),
        "create schema app in database orders",
        "orders",
        "catalog",
    ),
    (
        AlterSchemaOwner("orders", "sales", "app"),
        "give schema sales in database orders to role app",
        "orders",
        "catalog",
    ),
    (
        CreateExtension("orders", "pg_trgm", "public", None),
        "create extension pg_trgm in schema public of database orders",
        "orders",
        "catalog",
    ),
    (
        AlterExtensionVersion("orders", "pg_trgm", "1.6"),
        "update extension pg_trgm of database orders to version 1.6",
        "orders",
        "catalog",
    ),
    (
        AlterExtensionSchema("orders", "pg_trgm", "app"),
        "move extension pg_trgm of database orders to schema app",
        "orders",
        "catalog",
    ),
    (
        RevokePublicOnSchema("orders", "public"),
        "revoke CREATE on schema public in database orders from PUBLIC",
        "orders",
        "catalog",
    ),
    (
        CreateRole("app", login=True, connection_limit=None, password=PASSWORD),
        "create role app with LOGIN and a password",
        None,
        "role:app",
    ),
    (
        AlterRole("app", login=False, connection_limit=3, password=PASSWORD),
        "give role app NOLOGIN, CONNECTION LIMIT 3, a new password",
        None,
        "role:app",
    ),
    (
        GrantRoleToSelf("app"),
        "make the operator a member of role app",
        None,
        "role:app",
    ),
    (
        SetRoleAttribute("app", "CREATEDB", on=False),
        "give role app NOCREATEDB",
        None,
        "role:app",
    ),
    (
        SetRoleParameter("app", RoleParameter("work_mem", "orders"), "64MB"),
        "set work_mem of role app in database orders to 64MB",
        None,
        "role:app",
    ),
    (
        SetRoleParameter("app", RoleParameter("work_mem"), None),
        "reset work_mem of role app",
        None,
        "role:app",
    ),
    (
        GrantMembership("app", Membership("readers", admin=True)),
        "make role app a member of readers with the admin option",
        None,
        "role:app",
    ),
    (
        RevokeMembership("app", "readers", "admin"),
        "take the membership in readers from role app",
        None,
        "role:app",
    ),
    (MarkRole("app", Mark(ROLE)), "mark role app managed", None, "role:app"),
    (
        GrantPrivileges(
            "app", securables("database", "orders", ("orders",)), ("CONNECT",)
        ),
        "grant CONNECT on database orders to role app",
        None,
        "database:orders",
    ),
    (
        GrantPrivileges("app", securables("schema", "orders", ("sales",)), ("USAGE",)),
        "grant USAGE on schema sales in database orders to role app",
        "orders",
        "catalog",
    ),
    (
        GrantPrivileges(
            "app",
            (Securable("table", "orders", "sales", "*", creator="migrator"),),
            ("SELECT",),
        ),
        (
            "grant SELECT on future tables of role migrator in schema orders.sales "
            "to role app"
        ),
        "orders",
        "catalog",
    ),
    (
        RevokePrivileges(
            "app", securables("table", "orders", ("a", "b"), "sales"), ("DELETE",)
        ),
        "revoke DELETE on 2 tables of schema sales in database orders from role app",
        "orders",
        "catalog",
    ),
    (TerminateSessions("app"), "end the sessions of role app", None, None),
    (
        ReassignOwned("orders", "app", "owner"),
        "reassign what role app owns in database orders to owner",
        "orders",
        "catalog",
    ),
    (
        DropOwned("orders", "app"),
        "drop the privileges of role app in database orders",
        "orders",
        "catalog",
    ),
    (DropRole("app"), "drop role app", None, "role:app"),
)


def test_table_above_has_every_operation() -> None:
    assert {type(row[0]) for row in OPERATIONS} == set(get_args(Operation))


@pytest.mark.parametrize(("operation", "line"), [row[:2] for row in OPERATIONS])
def test_operation_reads_as_a_sentence(operation: Operation, line: str) -> None:
    assert Plan((operation,)).describe() == (line,)


@pytest.mark.parametrize(("operation", "_", "database", "lock"), OPERATIONS)
def test_operation_runs_where_its_lock_is(
    operation: Operation, _: str, database: str | None, lock: str | None
) -> None:
    (batch,) = Plan((operation,)).batches()
    assert batch.database == database
    assert batch.locks == ((lock,) if lock else ())
    # PostgreSQL forbids a transaction, or its commit must come before.
    assert batch.transactional is (lock is not None)


def test_no_text_of_a_plan_shows_a_password() -> None:
    plan = Plan(tuple(row[0] for row in OPERATIONS))
    texts = (*plan.describe(), repr(plan), str(plan), repr(plan.batches()))
    assert not any("correct horse" in text for text in texts)


def test_neighbours_share_a_transaction_with_sorted_locks_named_once() -> None:
    operations = (
        AlterRole("b", login=True),
        AlterRole("a", login=True),
        GrantPrivileges(
            "a", securables("database", "orders", ("orders",)), ("CONNECT",)
        ),
        MarkRole("b", None),
    )
    (batch,) = Plan(operations).batches()
    assert batch.operations == operations
    assert batch.locks == ("database:orders", "role:a", "role:b")


def test_each_change_of_database_is_a_new_transaction() -> None:
    plan = Plan(
        (
            CreateSchema("orders", "a"),
            CreateSchema("orders", "b"),
            CreateSchema("stock", "a"),
            DropRole("app"),
        )
    )
    assert [batch.database for batch in plan.batches()] == ["orders", "stock", None]


def test_empty_plan_is_falsy_and_has_no_batches() -> None:
    assert not Plan()
    assert Plan().batches() == ()


def test_pieces_keep_what_concerns_one_object_together_and_in_order() -> None:
    other = securables("sequence", "orders", ("s",), "app")
    operations = (
        RevokePrivileges("app", TABLES, ("SELECT",)),
        GrantPrivileges("app", (COLUMN,), ("SELECT",)),
        GrantPrivileges("app", other, ("USAGE",)),
        CreateSchema("orders", "late"),
        DropOwned("orders", "app"),
    )
    batch = Batch(operations, database="orders", locks=("catalog",))
    assert batch.breadth == 4

    cut = [piece.operations for piece in pieces(batch, most=1)]

    sequence, *tables = (
        (GrantPrivileges("app", other, ("USAGE",)),),
        (RevokePrivileges("app", TABLES[:1], ("SELECT",)),),
        (
            RevokePrivileges("app", TABLES[1:2], ("SELECT",)),
            GrantPrivileges("app", (COLUMN,), ("SELECT",)),
        ),
        (RevokePrivileges("app", TABLES[2:], ("SELECT",)),),
    )
    assert cut == [
        sequence,
        *tables,
        (CreateSchema("orders", "late"),),
        (DropOwned("orders", "app"),),
    ]
    assert [each.operations for each in pieces(batch, most=4)] == [
        operations[:3],
        *cut[4:],
    ]
    for piece in pieces(batch, most=2):
        assert piece.breadth <= 2
        assert (piece.database, piece.locks) == ("orders", ("catalog",))
