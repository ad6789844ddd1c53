"""What permissions mean in a database as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pg_operator.api.privileges import PRIVILEGES
from pg_operator.plan.grants import Grants, Securable
from pg_operator.plan.permissions import (
    NOT_FOUND,
    declared_scope,
    desired_grants,
    wanted_objects,
)
from pg_operator.plan.scope import covered, databases, declared, hold
from pg_operator.plan.state import Catalog
from tests.unit.plan_examples import (
    PG18,
    on_column,
    on_database,
    on_function,
    on_future,
    on_schema,
    on_sequence,
    on_table,
    on_type,
    permission,
)

PG16 = 160000
CATALOG = Catalog(
    "orders",
    schemas=frozenset({"app", "public"}),
    objects=frozenset(
        {
            Securable("table", "orders", "app", "a"),
            Securable("table", "orders", "app", "b"),
            Securable("column", "orders", "app", "a", "id"),
            Securable("sequence", "orders", "app", "ids"),
        }
    ),
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


def test_columns_and_sequences_are_granted_where_they_exist() -> None:
    entry = permission(
        schemas=[
            {
                "name": "app",
                "tables": [
                    {
                        "name": "a",
                        "columns": [
                            {"name": "id", "privileges": ["ALL"]},
                            {"name": "later", "privileges": ["SELECT"]},
                        ],
                    }
                ],
                "sequences": [
                    {"name": "*", "privileges": ["USAGE"]},
                    {"name": "later", "privileges": ["SELECT"]},
                ],
            }
        ],
    )
    grants, pending = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    all_on_a_column = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
    assert grants == (
        on_column("a", "id", *all_on_a_column) | on_sequence("ids", "USAGE")
    )
    under = "spec.permissions[orders].schemas[app]"
    assert {(part.path, part.reason) for part in pending} == {
        (f"{under}.tables[a].columns[later]", "ColumnNotFound"),
        (f"{under}.sequences[later]", "SequenceNotFound"),
    }
    assert declared_scope([entry], server_version=PG18) == (
        on_column("a", "id", *all_on_a_column)
        | on_column("a", "later", "SELECT")
        | on_sequence("*", "USAGE")
        | on_sequence("later", "SELECT")
    )


def test_wildcard_is_also_what_the_creators_of_its_schema_will_create() -> None:
    entry = permission(
        schemas=[
            *on_tables(("*", "SELECT"), ("a", "INSERT")),
            {"name": "public", "sequences": [{"name": "*", "privileges": ["USAGE"]}]},
        ]
    )
    creators = {"app": {"owner", "writer"}}
    grants, _ = desired_grants(
        entry, catalog=CATALOG, server_version=PG18, creators=creators
    )
    future = on_future("table", "owner", "SELECT") | on_future(
        "table", "writer", "SELECT"
    )
    assert {grant for grant in grants if grant.on.creator} == future
    scope = declared_scope([entry], server_version=PG18, creators=creators)
    assert future <= scope
    # Another creator's are not covered by the wildcard itself.
    stranger = on_future("table", "stranger", "SELECT")
    assert covered(stranger, scope) == frozenset()


def test_function_is_what_its_signature_means() -> None:
    functions = [
        {"name": "f(int)", "privileges": ["EXECUTE"]},
        {"name": "gone(int)", "privileges": ["ALL"]},
    ]
    types = [{"name": "*", "privileges": ["USAGE"]}]
    entry = permission(
        schemas=[{"name": "app", "functions": functions, "types": types}]
    )
    written = Securable("function", "orders", "app", "f(int)")
    meant = written._replace(name="f(integer)")
    mood = Securable("type", "orders", "app", "mood")
    catalog = replace(
        CATALOG, objects=frozenset({meant, mood}), functions={written: meant}
    )
    grants, (pending,) = desired_grants(entry, catalog=catalog, server_version=PG18)
    assert grants == on_function("f(integer)", "EXECUTE") | on_type("mood", "USAGE")
    assert pending.path.endswith(".functions[gone(int)]")
    assert pending.reason == "FunctionNotFound"
    scope = declared_scope([entry], server_version=PG18, functions=catalog.functions)
    assert scope == (
        on_function("f(integer)", "EXECUTE")
        | on_function("gone(int)", "EXECUTE")
        | on_type("*", "USAGE")
    )


def test_grantable_words_are_held_with_and_without_the_option() -> None:
    tables = [{"name": "a", "privileges": ["ALL"], "grantable": ["SELECT"]}]
    entry = permission(
        privileges=["CONNECT"],
        grantable=["ALL"],
        schemas=[{"name": "app", "tables": tables}],
    )
    grants, _ = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    option = {one._replace(grantable=True) for one in on_table("a", "SELECT")}
    # ALL of `grantable` is every word of the kind; validation keeps it to the granted.
    assert {grant for grant in grants if grant.on.kind == "table"} == (
        on_table("a", *TABLE_WORDS) | option
    )
    assert grants <= declared_scope([entry], server_version=PG18) == grants


def test_wildcard_leaves_out_what_it_is_told_to() -> None:
    schema = {
        "name": "app",
        "tables": [
            {"name": "*", "privileges": ["SELECT", "INSERT"]},
            {"name": "b", "privileges": ["INSERT"]},
        ],
        "exceptTables": ["b"],
    }
    entry = permission(schemas=[schema])
    grants, _ = desired_grants(entry, catalog=CATALOG, server_version=PG18)
    assert grants == on_table("a", "SELECT", "INSERT") | on_table("b", "INSERT")
    scope = declared_scope([entry], server_version=PG18)
    held = on_table("b", "SELECT", "INSERT") | on_table("c", "SELECT")
    # It may have come with its creation, so it counts, but it is not to be there.
    assert covered(held, scope) == held
    assert declared(held, scope) == on_table("b", "INSERT") | on_table("c", "SELECT")


def test_wildcard_is_of_one_kind() -> None:
    assert covered(on_sequence("a", "SELECT"), on_table("*", "SELECT")) == frozenset()
    tables = permission(schemas=on_tables(("*", "ALL")))
    grants, _ = desired_grants(tables, catalog=CATALOG, server_version=PG18)
    assert {grant.on.kind for grant in grants} == {"table"}


def test_only_what_is_granted_on_is_looked_for() -> None:
    schemas = [
        {
            "name": "app",
            "privileges": ["USAGE"],
            "tables": [
                {"name": "a", "columns": [{"name": "id", "privileges": ["SELECT"]}]},
                {"name": "b", "privileges": []},
            ],
            "sequences": [{"name": "*", "privileges": ["USAGE"]}],
        }
    ]
    assert wanted_objects(permission(privileges=["CONNECT"], schemas=schemas)) == {
        Securable("column", "orders", "app", "a", "id"),
        Securable("sequence", "orders", "app", "*"),
    }


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
    | on_column("a", "id", "SELECT")
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
            | on_table("a", "DELETE")
            | on_column("a", "id", "SELECT"),
        ),
        (
            {"database": "orders", "schema": "app", "kind": "table", "name": "a"},
            on_table("a", "DELETE") | on_column("a", "id", "SELECT"),
        ),
        (
            {
                "database": "orders",
                "schema": "app",
                "kind": "column",
                "name": "a",
                "column": "id",
            },
            on_column("a", "id", "SELECT"),
        ),
        ({"database": "gone"}, frozenset()),
    ],
)
def test_hold_keeps_what_the_scope_has_under_a_path(
    path: dict[str, Any], kept: Grants
) -> None:
    assert hold(SCOPE, **path) == kept


def test_scope_tells_which_databases_it_reaches_into() -> None:
    assert databases(SCOPE) == {"orders", "stock"}


def test_every_reason_why_something_is_not_granted_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "conditions.md").read_text()
    for reason in (*NOT_FOUND.values(), "SchemaNotFound", "PrivilegeNotSupported"):
        assert f"`{reason}`" in documented
