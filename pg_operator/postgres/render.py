"""Turns each operation into one SQL statement.

Names become `sql.Identifier` and values `sql.Literal`, never text; the words of
privileges come from the word table only.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from psycopg import sql

from pg_operator.plan import operations as op
from pg_operator.plan.parameters import LISTS, items
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import Mark, Server
from pg_operator.postgres.quote import (
    quote_name,
    quote_parameter,
    quote_role,
    quote_value,
)
from pg_operator.postgres.render_privileges import render_privileges, render_words
from pg_operator.postgres.render_roles import (
    Verifier,
    render_entanglement,
    render_role,
    render_role_property,
)


class Sealer(Protocol):
    """What makes a comment of a mark, such as a keyring."""

    def seal(self, mark: Mark, *, on: str) -> str:
        """Return the comment for `on`, "role:NAME" or "database:NAME"."""


def render(
    operation: op.Operation, *, server: Server, keyring: Sealer, verifier: Verifier
) -> sql.Composed:
    """Return the one statement of an operation.

    `verifier` makes what PostgreSQL stores of a password, for a role's name.

    Raises:
        Rejected: a name or value that cannot be sent.
    """
    match operation:
        case op.CreateDatabase() | op.AlterDatabase() | op.DropDatabase():
            statement = _database(operation)
        case (
            op.AlterDatabaseOwner()
            | op.SetDatabaseParameter()
            | op.ResetDatabaseParameter()
        ):
            statement = _database_property(operation)
        case op.MarkDatabase() | op.MarkRole():
            statement = _mark(operation, keyring)
        case op.RevokePublicOnDatabase(name, privileges):
            statement = sql.SQL("REVOKE {} ON DATABASE {} FROM PUBLIC").format(
                render_words("database", privileges), quote_name(name)
            )
        case op.CreateSchema() | op.AlterSchemaOwner() | op.RevokePublicOnSchema():
            statement = _schema(operation)
        case (
            op.CreateExtension()
            | op.AlterExtensionVersion()
            | op.AlterExtensionSchema()
        ):
            statement = _extension(operation)
        case op.CreateRole() | op.AlterRole():
            statement = render_role(operation, verifier)
        case op.SetRoleAttribute() | op.SetRoleParameter():
            statement = render_role_property(operation)
        case GrantPrivileges() | RevokePrivileges():
            statement = render_privileges(operation)
        case _:
            statement = render_entanglement(operation, server)
    return statement


def _schema(
    operation: op.CreateSchema | op.AlterSchemaOwner | op.RevokePublicOnSchema,
) -> sql.Composed:
    name = quote_name(operation.name)
    match operation:
        case op.CreateSchema():
            return sql.SQL("CREATE SCHEMA {}").format(name)
        case op.AlterSchemaOwner(owner=owner):
            return sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(
                name, quote_role(owner)
            )
        case op.RevokePublicOnSchema():
            return sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC").format(name)


def _database(
    operation: op.CreateDatabase | op.AlterDatabase | op.DropDatabase,
) -> sql.Composed:
    name = quote_name(operation.name)
    match operation:
        case op.CreateDatabase():
            return sql.SQL("CREATE DATABASE {} {}").format(
                name, sql.SQL(" ").join(_creation(operation))
            )
        case op.AlterDatabase(allow_connections=allows, connection_limit=limit):
            return sql.SQL("ALTER DATABASE {} {}").format(
                name,
                sql.SQL(" ").join(
                    [
                        *_option(
                            "ALLOW_CONNECTIONS",
                            None if allows is None else sql.Literal(allows),
                        ),
                        *_option(
                            "CONNECTION LIMIT",
                            None if limit is None else sql.Literal(limit),
                        ),
                    ]
                ),
            )
        case op.DropDatabase():
            return sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name)


def _creation(operation: op.CreateDatabase) -> Iterator[sql.Composable]:
    """Write the options of CREATE DATABASE."""
    yield sql.SQL("TEMPLATE {}").format(quote_name(operation.template))
    locale = operation.locale
    for word, value in (
        ("ENCODING", operation.encoding),
        ("LOCALE_PROVIDER", locale.provider),
        (_LOCALES[locale.provider], locale.name),
    ):
        if value is not None:
            yield from _option(word, quote_value(value))
    if operation.tablespace is not None:
        yield sql.SQL("TABLESPACE {}").format(quote_name(operation.tablespace))
    yield sql.SQL("ALLOW_CONNECTIONS false")
    yield from _option("CONNECTION LIMIT", sql.Literal(operation.sentinel))


_LOCALES: Final[dict[str | None, str]] = {
    None: "LOCALE",
    "libc": "LOCALE",
    "icu": "ICU_LOCALE",
    "builtin": "BUILTIN_LOCALE",
}


def _database_property(
    operation: (
        op.AlterDatabaseOwner | op.SetDatabaseParameter | op.ResetDatabaseParameter
    ),
) -> sql.Composed:
    name = quote_name(operation.name)
    match operation:
        case op.AlterDatabaseOwner(owner=owner):
            return sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                name, quote_role(owner)
            )
        case op.SetDatabaseParameter(parameter=parameter, value=value):
            values = items(value) if parameter in LISTS else (value,)
            return sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                name,
                quote_parameter(parameter),
                sql.SQL(", ").join(map(quote_value, values)),
            )
        case op.ResetDatabaseParameter(parameter=parameter):
            return sql.SQL("ALTER DATABASE {} RESET {}").format(
                name, quote_parameter(parameter)
            )


def _extension(
    operation: (
        op.CreateExtension | op.AlterExtensionVersion | op.AlterExtensionSchema
    ),
) -> sql.Composed:
    name = quote_name(operation.name)
    match operation:
        case op.CreateExtension(schema=schema, version=version):
            # Without a schema it would land in the first of our search_path.
            statement = sql.SQL("CREATE EXTENSION {} SCHEMA {}").format(
                name, quote_name(schema)
            )
            if version is None:
                return statement
            return statement + sql.SQL(" VERSION {}").format(quote_name(version))
        case op.AlterExtensionVersion(version=version):
            return sql.SQL("ALTER EXTENSION {} UPDATE TO {}").format(
                name, quote_name(version)
            )
        case op.AlterExtensionSchema(schema=schema):
            return sql.SQL("ALTER EXTENSION {} SET SCHEMA {}").format(
                name, quote_name(schema)
            )


def _option(word: str, value: sql.Composable | None) -> list[sql.Composable]:
    """Return an option and its value, nothing for None."""
    return [] if value is None else [_OPTIONS[word], value]


_OPTIONS: Final[dict[str, sql.SQL]] = {
    "ALLOW_CONNECTIONS": sql.SQL("ALLOW_CONNECTIONS"),
    "CONNECTION LIMIT": sql.SQL("CONNECTION LIMIT"),
    "ENCODING": sql.SQL("ENCODING"),
    "LOCALE": sql.SQL("LOCALE"),
    "LOCALE_PROVIDER": sql.SQL("LOCALE_PROVIDER"),
    "ICU_LOCALE": sql.SQL("ICU_LOCALE"),
    "BUILTIN_LOCALE": sql.SQL("BUILTIN_LOCALE"),
}


def _mark(operation: op.MarkDatabase | op.MarkRole, keyring: Sealer) -> sql.Composed:
    name, mark, comment = operation.name, operation.mark, operation.comment
    if isinstance(operation, op.MarkDatabase):
        return sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            quote_name(name), _comment(mark, comment, keyring, on=f"database:{name}")
        )
    return sql.SQL("COMMENT ON ROLE {} IS {}").format(
        quote_role(name), _comment(mark, comment, keyring, on=f"role:{name}")
    )


def _comment(
    mark: Mark | None, comment: str | None, keyring: Sealer, *, on: str
) -> sql.Composable:
    if mark is not None:
        return quote_value(keyring.seal(mark, on=on))
    return sql.SQL("NULL") if comment is None else quote_value(comment)
