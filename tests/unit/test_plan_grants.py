"""What permissions mean in a database as it is."""

import pytest

from pg_operator.api.privileges import PRIVILEGES
from pg_operator.plan.desired import declared_scope, desired_grants
from pg_operator.plan.scope import covered, databases, hold
from pg_operator.plan.state import Catalog, Grants
from tests.unit.plan_examples import (
    PG18,
    on_database,
    on_schema,
    on_table,
    permission,
)

PG16 = 160000
CATALOG = Catalog(
    "orders",
    schemas=frozenset({"app", "public"}),
    tables={"app": frozenset({"a", "b"}), "public": frozenset()},
)
TABLE_WORDS = tuple(privilege.word for privilege in PRIVILEGES["table"])


def on_tables(*tables: tuple[str, ...]) -> list[dict[str, object]]:
    """Write permissions on tables of schema app, each a name and its words."""
    written = [{"name": name, "privileges": words} for name, *words in tables]
    return [{"name": "app", "tables": written}]


def test_privileges_at_every_level_are_granted_where_they_are_written() -> None:
    entry = permission(
        privileges=["CONNECT"],
        schemas=[
            {
                "name": "app",
                "privileges": ["USAGE"],
                "tables": [{"name": "a", "privileges": ["SELECT"]}],
            }
        ],
    )
    grants, pending = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    assert pending == ()
    assert grants == (
        on_database("orders", "CONNECT")
        | on_schema("app", "USAGE")
        | on_table("a", "SELECT")
    )
    assert declared_scope([entry], server_version=PG18) == grants


def test_wildcard_is_every_table_that_exists_and_stays_a_wildcard_in_the_scope() -> (
    None
):
    entry = permission(schemas=on_tables(("*", "SELECT"), ("a", "INSERT")))
    grants, pending = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    assert pending == ()
    assert grants == on_table("a", "SELECT", "INSERT") | on_table("b", "SELECT")
    scope = declared_scope([entry], server_version=PG18)
    assert scope == on_table("*", "SELECT") | on_table("a", "INSERT")


def test_wildcard_of_an_empty_schema_waits_for_nothing() -> None:
    entry = permission(
        schemas=[
            {"name": "public", "tables": [{"name": "*", "privileges": ["SELECT"]}]}
        ]
    )
    assert desired_grants(entry, catalog=CATALOG, server_version=PG18) == (
        frozenset(),
        (),
    )


@pytest.mark.parametrize(
    ("version", "words"), [(PG18, TABLE_WORDS), (PG16, TABLE_WORDS[:-1])]
)
def test_all_is_what_the_server_version_has(
    version: int, words: tuple[str, ...]
) -> None:
    entry = permission(schemas=on_tables(("a", "ALL")))
    grants, pending = desired_grants(entry, catalog=CATALOG, server_version=version)
    assert pending == ()
    assert grants == on_table("a", *words)
    assert declared_scope([entry], server_version=version) == grants


def test_word_that_the_server_does_not_know_is_pending_and_no_part_of_the_scope() -> (
    None
):
    entry = permission(schemas=on_tables(("a", "SELECT", "MAINTAIN")))
    grants, (pending,) = desired_grants(entry, catalog=CATALOG, server_version=PG16)
    assert grants == on_table("a", "SELECT")
    assert declared_scope([entry], server_version=PG16) == grants
    assert pending.reason == "PrivilegeNotSupported"
    assert pending.path == (
        "spec.permissions[orders].schemas[app].tables[a].privileges[MAINTAIN]"
    )


def test_missing_table_is_pending_and_the_rest_is_granted() -> None:
    entry = permission(schemas=on_tables(("a", "SELECT"), ("later", "SELECT")))
    grants, (pending,) = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    assert grants == on_table("a", "SELECT")
    assert pending.reason == "TableNotFound"
    assert pending.path == "spec.permissions[orders].schemas[app].tables[later]"


def test_missing_schema_is_pending_once_for_all_that_is_in_it() -> None:
    entry = permission(
        privileges=["CONNECT"],
        schemas=[
            {
                "name": "later",
                "privileges": ["USAGE"],
                "tables": [
                    {"name": "a", "privileges": ["SELECT"]},
                    {"name": "*", "privileges": ["SELECT"]},
                ],
            }
        ],
    )
    grants, (pending,) = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    assert grants == on_database("orders", "CONNECT")
    assert pending.reason == "SchemaNotFound"
    assert pending.path == "spec.permissions[orders].schemas[later]"


@pytest.mark.parametrize(
    "schemas",
    [
        [],
        [{"name": "app"}],
        [{"name": "later", "privileges": []}],
        [{"name": "later", "tables": [{"name": "a"}]}],
    ],
)
def test_empty_lists_grant_nothing_and_wait_for_nothing(
    schemas: list[dict[str, object]],
) -> None:
    entry = permission(schemas=schemas)
    assert desired_grants(entry, catalog=CATALOG, server_version=PG18) == (
        frozenset(),
        (),
    )
    assert declared_scope([entry], server_version=PG18) == frozenset()


# Scopes

SCOPE = (
    on_database("orders", "CONNECT")
    | on_schema("app", "USAGE")
    | on_table("*", "SELECT")
    | on_table("a", "DELETE")
    | on_database("stock", "CONNECT")
)


@pytest.mark.parametrize(
    ("grants", "inside"),
    [
        (on_table("a", "DELETE"), True),
        (on_table("anything", "SELECT"), True),
        (on_table("b", "DELETE"), False),
        (on_table("a", "SELECT", schema="other"), False),
        (on_table("a", "SELECT", database="stock"), False),
        (on_schema("app", "USAGE"), True),
        (on_schema("app", "CREATE"), False),
        (on_schema("app", "SELECT"), False),
        (on_database("stock", "CONNECT"), True),
    ],
)
def test_scope_covers_what_it_names_and_every_table_of_its_wildcards(
    *, grants: Grants, inside: bool
) -> None:
    assert covered(grants, SCOPE) == (grants if inside else frozenset())


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ({"database": "stock"}, on_database("stock", "CONNECT")),
        ({"database": "orders"}, SCOPE - on_database("stock", "CONNECT")),
        (
            {"database": "orders", "schema": "app"},
            on_schema("app", "USAGE")
            | on_table("*", "SELECT")
            | on_table("a", "DELETE"),
        ),
        (
            {"database": "orders", "schema": "app", "table": "a"},
            on_table("a", "DELETE"),
        ),
        ({"database": "gone"}, frozenset()),
    ],
)
def test_hold_keeps_what_the_scope_has_under_a_path(
    path: dict[str, str], kept: Grants
) -> None:
    assert hold(SCOPE, **path) == kept


def test_scope_tells_which_databases_it_reaches_into() -> None:
    assert databases(SCOPE) == {"orders", "stock"}
