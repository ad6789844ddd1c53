"""The rules for a DatabaseRole and its permissions. Pure."""

from functools import partial
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import (
    RESERVED,
    created_name_problem,
    is_system_schema,
    referred_name_problem,
    secret_key_problem,
    secret_name_problem,
)
from pg_operator.api.privileges import ALL, ObjectKind, explain_unsupported, words
from pg_operator.api.validation.common import (
    check_cluster_reference,
    check_connection_limit,
    forbid_change,
)
from pg_operator.api.validation.memberships import check_member_of

MOST_PERMISSIONS: Final = 16
MOST_SCHEMAS: Final = 32
MOST_TABLES: Final = 256
MOST_PRIVILEGES: Final = 16
DELETION_POLICIES: Final = ("Delete", "Disable", "Retain")


def check_role(spec: Field) -> None:
    """Check the spec of a DatabaseRole."""
    name = spec["roleName"].require("must be the name of the role in PostgreSQL")
    name.check_text(partial(created_name_problem, "role"))
    check_cluster_reference(spec["databaseClusterRef"])
    _check_password(spec["password"])
    spec["login"].check_boolean()
    check_connection_limit(spec["connectionLimit"])
    check_member_of(spec)
    spec["deletionPolicy"].check_choice(*DELETION_POLICIES)
    logs_in = spec["login"].value is True or (
        spec["password"].is_present and spec["login"].value is not False
    )
    permissions = spec["permissions"]
    for permission in permissions.entries(most=MOST_PERMISSIONS, list_key="database"):
        _check_permission(permission, logs_in=logs_in)


def check_role_change(new: Field, old: Field) -> None:
    """Check that what names the role stays as it was."""
    advice = "create a new DatabaseRole"
    forbid_change(new["roleName"], old["roleName"], advice=advice)
    forbid_change(
        new["databaseClusterRef"]["name"],
        old["databaseClusterRef"]["name"],
        advice=advice,
    )


def _check_password(password: Field) -> None:
    password = password.hide()  # the password itself is easily written here by mistake
    if password.has_type("object", hint=" with the name of a Secret"):
        password["name"].require("must be the name of a Secret in the same namespace")
        password["name"].check_text(secret_name_problem)
        password["key"].check_text(secret_key_problem)


def _check_permission(permission: Field, *, logs_in: bool) -> None:
    database = permission["database"].require("must be the name of a database")
    database.check_text(_database_problem)
    _check_privileges(permission["privileges"], "database")
    schemas = permission["schemas"].entries(most=MOST_SCHEMAS, list_key="name")
    granting = [schema for schema in schemas if _check_schema(schema)]
    if logs_in and granting and not _holds(permission["privileges"], "CONNECT"):
        permission.warn("these have no effect without CONNECT on the database")


def _check_schema(schema: Field) -> bool:
    """Check a schema of a permission, and tell whether it grants anything."""
    schema["name"].require("must be the name of a schema").check_text(_schema_problem)
    own = schema["privileges"]
    _check_privileges(own, "schema")
    tables = schema["tables"].entries(most=MOST_TABLES, list_key="name")
    granting = [table for table in tables if _check_table(table)]
    if granting and not _holds(own, "USAGE"):
        schema.warn("privileges on tables have no effect without USAGE on the schema")
    return bool(granting or own.texts())


def _check_table(table: Field) -> bool:
    """Check a table of a permission, and tell whether it grants anything."""
    name = table["name"].require("must be the name of a table, or '*' for all")
    name.check_text(referred_name_problem)
    _check_privileges(table["privileges"], "table")
    return bool(table["privileges"].texts())


def _check_privileges(privileges: Field, kind: ObjectKind) -> None:
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
        detail = "privileges in schemas of PostgreSQL itself may not be granted"
        return Problem("system-schema", detail, "FieldValueForbidden")
    return referred_name_problem(name)


def _holds(privileges: Field, word: str) -> bool:
    return not {word, ALL}.isdisjoint(privileges.texts())
