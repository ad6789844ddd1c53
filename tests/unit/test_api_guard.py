"""What of a faulty document is held, and what stalls the object."""

from typing import Any

from pg_operator.api.guard import Guarded, guard
from pg_operator.api.validation import validate_database, validate_databaserole


def guarded_role(permissions: object, **spec: object) -> Guarded:
    whole = {
        "roleName": "app",
        "databaseClusterRef": {"name": "main"},
        "permissions": permissions,
        **spec,
    }
    return guard(whole, validate_databaserole({"spec": whole}).errors)


def permission(name: str, **more: object) -> dict[str, Any]:
    return {"database": name, "privileges": ["CONNECT"], **more}


def test_valid_spec_is_let_through_whole() -> None:
    guarded = guarded_role([permission("orders")])
    assert guarded.spec["permissions"] == [permission("orders")]
    assert (guarded.held, guarded.stalled) == ((), ())


def test_error_in_a_table_holds_that_table_only() -> None:
    tables = [{"name": "a\n"}, {"name": "b", "privileges": ["SELECT"]}]
    schema = {"name": "app", "privileges": ["USAGE"], "tables": tables}
    guarded = guarded_role([permission("orders", schemas=[schema])])
    (left,) = guarded.spec["permissions"]
    assert left["schemas"] == [{**schema, "tables": tables[1:]}]
    (held,) = guarded.held
    assert (held.database, held.schema, held.kind, held.name) == (
        "orders",
        "app",
        "table",
        "a\n",
    )
    assert held.path_keys == (
        "permissions",
        "orders",
        "schemas",
        "app",
        "tables",
        "a\n",
    )


def test_words_that_may_be_passed_on_go_with_the_privileges() -> None:
    for words in ({"privileges": ["CONECT"]}, {}):
        faulty = {"database": "orders", **words, "grantable": ["CONNECT"]}
        guarded = guarded_role([faulty])
        assert guarded.spec["permissions"] == [{"database": "orders"}]
        assert {held.path_keys for held in guarded.held} == {
            ("permissions", "orders", "privileges")
        }


def test_error_in_a_column_or_sequence_holds_that_one_only() -> None:
    columns = [{"name": "*"}, {"name": "id", "privileges": ["SELECT"]}]
    sequences = [{"name": "ids", "privileges": ["SELCT"]}, {"name": "*"}]
    functions = [{"name": "f"}, {"name": "f()"}]
    schema = {
        "name": "app",
        "tables": [{"name": "a", "columns": columns}],
        "sequences": sequences,
        "functions": functions,
    }
    guarded = guarded_role([permission("orders", schemas=[schema])])
    (left,) = guarded.spec["permissions"]
    assert left["schemas"] == [
        {
            "name": "app",
            "tables": [{"name": "a", "columns": columns[1:]}],
            "sequences": [{"name": "ids"}, {"name": "*"}],
            "functions": functions[1:],
        }
    ]
    assert [(held.kind, held.name, held.column) for held in guarded.held] == [
        ("column", "a", "*"),
        ("sequence", "ids", None),
        ("function", "f", None),
    ]


def test_error_in_a_schema_name_holds_the_schema_with_its_tables() -> None:
    schemas = [{"name": "pg_catalog", "tables": [{"name": "a"}]}, {"name": "app"}]
    guarded = guarded_role([permission("orders", schemas=schemas)])
    assert guarded.spec["permissions"] == [
        permission("orders", schemas=[{"name": "app"}])
    ]
    assert [(held.database, held.schema) for held in guarded.held] == [
        ("orders", "pg_catalog")
    ]


def test_error_in_privileges_holds_the_privileges_of_that_entry_only() -> None:
    schemas = [{"name": "app", "privileges": ["USAGE"]}]
    faulty = {"database": "orders", "privileges": ["CONECT"], "schemas": schemas}
    guarded = guarded_role([faulty])
    assert guarded.spec["permissions"] == [{"database": "orders", "schemas": schemas}]
    (held,) = guarded.held
    assert held.path_keys == ("permissions", "orders", "privileges")
    assert (held.database, held.schema, held.kind, held.name) == (
        "orders",
        None,
        None,
        None,
    )


def test_several_errors_in_one_list_leave_the_right_entries() -> None:
    names = ["a", "b", "a", "c", "b", "d"]
    guarded = guarded_role([permission(name) for name in names])
    left = [entry["database"] for entry in guarded.spec["permissions"]]
    assert left == ["a", "b", "c", "d"]
    assert [held.database for held in guarded.held] == ["a", "b"]


def test_entry_without_a_name_is_held_by_its_position() -> None:
    guarded = guarded_role([permission("orders"), 7])
    assert guarded.spec["permissions"] == [permission("orders")]
    (held,) = guarded.held
    assert (held.path_keys, held.database) == (("permissions", "1"), None)


def test_error_outside_of_entries_stalls() -> None:
    guarded = guarded_role([permission("orders")], connectionLimit="many")
    assert [error.path for error in guarded.stalled] == ["spec.connectionLimit"]
    assert guarded.held == ()


def test_list_that_is_no_list_stalls() -> None:
    assert [error.path for error in guarded_role("all").stalled] == ["spec.permissions"]


def test_schema_of_a_database_is_held_like_any_entry() -> None:
    spec = {
        "name": "orders",
        "databaseClusterRef": {"name": "main"},
        "schemas": [{"name": "app"}, {"name": "pg_app"}],
    }
    guarded = guard(spec, validate_database({"spec": spec}).errors)
    assert guarded.spec["schemas"] == [{"name": "app"}]
    assert [(held.database, held.schema) for held in guarded.held] == [(None, "pg_app")]


def test_parameter_is_held_alone() -> None:
    spec = {
        "name": "orders",
        "databaseClusterRef": {"name": "main"},
        "parameters": {"work_mem": "8MB", "TimeZone": "UTC", "jit": True, "]": "x"},
    }
    guarded = guard(spec, validate_database({"spec": spec}).errors)
    assert guarded.spec["parameters"] == {"work_mem": "8MB"}
    assert {held.path_keys for held in guarded.held} == {
        ("parameters", "TimeZone"),
        ("parameters", "jit"),
        ("parameters", "]"),
    }


def test_spec_that_is_given_is_left_alone() -> None:
    permissions = [permission("orders"), 7]
    guarded_role(permissions)
    assert permissions == [permission("orders"), 7]


def test_error_in_a_membership_holds_that_membership_only() -> None:
    guarded = guarded_role([], memberOf=[{"role": "app"}, {"role": "readers"}])
    assert guarded.spec["memberOf"] == [{"role": "readers"}]
    (held,) = guarded.held
    assert (held.member_of, held.database) == ("app", None)
    assert guarded.stalled == ()
