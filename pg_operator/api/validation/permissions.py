"""The rules for the permissions of a DatabaseRole. Pure."""

from collections.abc import Callable
from functools import partial
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field, Rule
from pg_operator.api.names import (
    RESERVED,
    is_system_schema,
    referred_name_problem,
    signature_problem,
)
from pg_operator.api.privileges import ALL, ObjectKind, explain_unsupported, words
from pg_operator.api.specs import WILDCARD
from pg_operator.api.validation.parameters import check_parameters

MOST_PERMISSIONS: Final = 16
MOST_SCHEMAS: Final = 32
MOST_TABLES: Final = 256
MOST_COLUMNS: Final = 64
MOST_SEQUENCES: Final = 256
MOST_FUNCTIONS: Final = 256
MOST_TYPES: Final = 256
MOST_PRIVILEGES: Final = 16
COLUMNS_OF_ALL: Final = Problem(
    "columns-of-all",
    f"may not be listed for all tables ('{WILDCARD}'); name the table",
    "FieldValueForbidden",
)


def check_permissions(permissions: Field, *, logs_in: bool) -> None:
    """Check the permissions of a role that may or may not log in."""
    for permission in permissions.entries(most=MOST_PERMISSIONS, list_key="database"):
        _check_permission(permission, logs_in=logs_in)


def _check_permission(permission: Field, *, logs_in: bool) -> None:
    database = permission["database"].require("must be the name of a database")
    database.check_text(_database_problem)
    _check_privileges(permission, "database")
    check_parameters(permission["parameters"])
    schemas = permission["schemas"].entries(most=MOST_SCHEMAS, list_key="name")
    granting = [schema for schema in schemas if _check_schema(schema)]
    if logs_in and granting and not _holds(permission["privileges"], "CONNECT"):
        permission.warn("these have no effect without CONNECT on the database")


def _check_schema(schema: Field) -> bool:
    """Check a schema of a permission, and tell whether it grants anything."""
    schema["name"].require("must be the name of a schema").check_text(_schema_problem)
    own = schema["privileges"]
    _check_privileges(schema, "schema")
    _check_except_tables(schema)
    inside = [
        kinds
        for kinds, most, check in (
            ("tables", MOST_TABLES, _check_table),
            ("sequences", MOST_SEQUENCES, partial(_check_object, kind="sequence")),
            ("functions", MOST_FUNCTIONS, _check_function),
            ("types", MOST_TYPES, partial(_check_object, kind="type")),
        )
        if _any_grants(schema[kinds], most=most, check=check)
    ]
    if inside and not _holds(own, "USAGE"):
        what = " and ".join(inside)
        schema.warn(f"privileges on {what} have no effect without USAGE on the schema")
    return bool(inside or own.texts())


def _any_grants(entries: Field, *, most: int, check: Callable[[Field], bool]) -> bool:
    """Check every entry of a list, and tell whether one of them grants anything."""
    granting = [check(entry) for entry in entries.entries(most=most, list_key="name")]
    return any(granting)


def _check_table(table: Field) -> bool:
    """Check a table of a permission, and tell whether it grants anything."""
    columns = table["columns"]
    if columns.is_present and table["name"].value == WILDCARD:
        columns.refuse(COLUMNS_OF_ALL)
    check_column = partial(_check_object, kind="column", rule=_column_problem)
    in_columns = _any_grants(columns, most=MOST_COLUMNS, check=check_column)
    return _check_object(table, kind="table") or in_columns


def _check_function(function: Field) -> bool:
    """Check a function of a permission, and tell whether it grants anything."""
    return _check_object(function, kind="function", rule=_function_problem)


def _check_object(
    entry: Field, *, kind: ObjectKind, rule: Rule = referred_name_problem
) -> bool:
    """Check what is granted on an object, and tell whether that is anything."""
    hint = "" if kind == "column" else f", or '{WILDCARD}' for all"
    name = entry["name"].require(f"must be the name of a {kind}{hint}")
    name.check_text(rule)
    _check_privileges(entry, kind)
    return bool(entry["privileges"].texts())


def _check_except_tables(schema: Field) -> None:
    excepted = schema["exceptTables"]
    seen: set[str] = set()
    for name in excepted.entries(most=MOST_TABLES):
        name.check_text(_excepted_problem)
        if isinstance(name.value, str):
            if name.value in seen:
                detail = "must be listed once"
                name.refuse(Problem("duplicate", detail, "FieldValueDuplicate"))
            seen.add(name.value)
    tables = schema["tables"].value
    names = (
        [each.get("name") for each in tables if isinstance(each, dict)]
        if (isinstance(tables, list))
        else []
    )
    if seen and WILDCARD not in names:
        excepted.warn(f"has no effect without the table '{WILDCARD}'")


def _check_privileges(entry: Field, kind: ObjectKind) -> None:
    """Check the words that an entry grants, and those that may be passed on."""
    _check_words(entry["privileges"], kind)
    grantable = entry["grantable"]
    _check_words(grantable, kind)
    granted = entry["privileges"].texts()
    beyond = grantable.texts() & {*words(kind)} - granted
    if beyond and ALL not in granted:
        listed = ", ".join(f"'{word}'" for word in sorted(beyond))
        detail = f"must only have words of `privileges`, which lacks {listed}"
        grantable.refuse(Problem("grantable", detail))


def _check_words(privileges: Field, kind: ObjectKind) -> None:
    seen: set[str] = set()
    for privilege in privileges.entries(most=MOST_PRIVILEGES):
        if not privilege.has_type("string"):
            continue
        word: str = privilege.value
        if word not in words(kind):
            detail = explain_unsupported(kind, word)
            privilege.refuse(Problem("privilege", detail, "FieldValueNotSupported"))
        elif word in seen:
            detail = "must be listed once"
            privilege.refuse(Problem("duplicate", detail, "FieldValueDuplicate"))
        seen.add(word)
    if ALL in seen and len(seen) > 1:
        detail = f"'{ALL}' must stand alone; remove it or the other words"
        privileges.refuse(Problem("all-alone", detail))


def _database_problem(name: str) -> Problem | None:
    if name in RESERVED["database"]:
        return Problem("name-reserved", "must not be a reserved database name")
    return referred_name_problem(name)


def _schema_problem(name: str) -> Problem | None:
    if is_system_schema(name):
        detail = "must not be a schema of PostgreSQL itself; choose one of the database"
        return Problem("system-schema", detail, "FieldValueForbidden")
    return referred_name_problem(name)


def _excepted_problem(name: str) -> Problem | None:
    if name == WILDCARD:
        detail = f"must be the name of a table; leave out the table '{WILDCARD}'"
        return Problem("except-wildcard", detail)
    return referred_name_problem(name)


def _function_problem(signature: str) -> Problem | None:
    return None if signature == WILDCARD else signature_problem(signature)


def _column_problem(name: str) -> Problem | None:
    if name == WILDCARD:
        detail = "must be the name of a column; grant on the table for all of them"
        return Problem("column-wildcard", detail)
    return referred_name_problem(name)


def _holds(privileges: Field, word: str) -> bool:
    return not {word, ALL}.isdisjoint(privileges.texts())
