"""Turns each operation into one SQL statement.

Names become `sql.Identifier` and values `sql.Literal`, never text; the words of
privileges come from the word table only.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol, assert_never

from psycopg import sql

from pg_operator.plan import operations as op
from pg_operator.plan.parameters import LISTS, items
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS
from pg_operator.plan.state import Mark, Membership, Password, Server
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.quote import (
    checked_name,
    is_storable,
    quote_name,
    quote_role,
)
from pg_operator.postgres.render_privileges import render_privileges, render_words

Verifier = Callable[[Password, str], str]


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
            statement = _role(operation, verifier)
        case op.SetRoleAttribute() | op.SetRoleParameter():
            statement = _role_property(operation)
        case GrantPrivileges() | RevokePrivileges():
            statement = render_privileges(operation)
        case _:
            statement = _entanglement(operation, server)
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
            yield from _option(word, _value(value))
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
                name, _parameter(parameter), sql.SQL(", ").join(map(_value, values))
            )
        case op.ResetDatabaseParameter(parameter=parameter):
            return sql.SQL("ALTER DATABASE {} RESET {}").format(
                name, _parameter(parameter)
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


def _role(operation: op.CreateRole | op.AlterRole, verifier: Verifier) -> sql.Composed:
    name = quote_role(operation.name)
    limit, password = operation.connection_limit, operation.password
    options: list[sql.Composable] = []
    if operation.inherit is not None:
        options.append(sql.SQL("INHERIT" if operation.inherit else "NOINHERIT"))
    if operation.valid_until is not None:
        options += _option("VALID UNTIL", _value(operation.valid_until))
    if operation.login is not None:
        options.append(sql.SQL("LOGIN" if operation.login else "NOLOGIN"))
    if limit is not None:
        options += _option("CONNECTION LIMIT", sql.Literal(limit))
    if password is not None:
        options += _option("PASSWORD", _value(verifier(password, operation.name)))
    start = sql.SQL(
        "CREATE ROLE {} {}"
        if isinstance(operation, op.CreateRole)
        else "ALTER ROLE {} {}"
    )
    return start.format(name, sql.SQL(" ").join(options))


def _role_property(
    operation: op.SetRoleAttribute | op.SetRoleParameter,
) -> sql.Composed:
    role = quote_role(operation.role)
    if isinstance(operation, op.SetRoleAttribute):
        word = _ATTRIBUTES.get(operation.attribute)
        if word is None:
            raise Rejected(f"there is no attribute {operation.attribute!r}")
        no = sql.SQL("" if operation.on else "NO")
        return sql.SQL("ALTER ROLE {} {}{}").format(role, no, word)
    parameter, value = operation.parameter, operation.value
    where: sql.Composable = sql.SQL("")
    if parameter.database:
        where = sql.SQL(" IN DATABASE {}").format(quote_name(parameter.database))
    name = _parameter(parameter.name)
    if value is None:
        return sql.SQL("ALTER ROLE {}{} RESET {}").format(role, where, name)
    several = items(value) if parameter.name in LISTS else (value,)
    values = sql.SQL(", ").join(map(_value, several))
    return sql.SQL("ALTER ROLE {}{} SET {} TO {}").format(role, where, name, values)


_ATTRIBUTES: Final[dict[str, sql.SQL]] = {
    "CREATEDB": sql.SQL("CREATEDB"),
    "CREATEROLE": sql.SQL("CREATEROLE"),
    "REPLICATION": sql.SQL("REPLICATION"),
    "BYPASSRLS": sql.SQL("BYPASSRLS"),
}


def _membership(
    operation: op.GrantMembership | op.RevokeMembership, server: Server
) -> sql.Composed:
    has_options = server.version_number >= MEMBERSHIP_OPTIONS
    role = quote_role(operation.role)
    if isinstance(operation, op.GrantMembership):
        membership = operation.membership
        options = _grant_options(membership) if has_options else sql.SQL("")
        if membership.admin and not has_options:
            options = sql.SQL(" WITH ADMIN OPTION")
        return sql.SQL("GRANT {} TO {}{}").format(
            quote_role(membership.role), role, options
        )
    # What the role passed on goes with it, else the REVOKE would be refused.
    return sql.SQL("REVOKE {}{} FROM {}{} CASCADE").format(
        sql.SQL("ADMIN OPTION FOR " if operation.admin_only else ""),
        quote_role(operation.group),
        role,
        sql.SQL(" GRANTED BY {}").format(quote_role(operation.grantor))
        if has_options and operation.grantor
        else sql.SQL(""),
    )


def _grant_options(membership: Membership) -> sql.Composed:
    return sql.SQL(" WITH ADMIN {}, INHERIT {}, SET {}").format(
        sql.Literal(membership.admin),
        sql.Literal(membership.inherit is not False),
        sql.Literal(membership.set is not False),
    )


def _entanglement(
    operation: (
        op.GrantMembership
        | op.RevokeMembership
        | op.GrantRoleToSelf
        | op.TerminateSessions
        | op.ReassignOwned
        | op.DropOwned
        | op.DropRole
    ),
    server: Server,
) -> sql.Composed:
    match operation:
        case op.GrantMembership() | op.RevokeMembership():
            return _membership(operation, server)
        case op.GrantRoleToSelf(name):
            options = sql.SQL(
                " WITH INHERIT TRUE, SET TRUE"
                if server.version_number >= MEMBERSHIP_OPTIONS
                else ""
            )
            return sql.SQL("GRANT {} TO CURRENT_USER{}").format(
                quote_role(name), options
            )
        case op.TerminateSessions(role):
            return sql.SQL(
                "SELECT pg_catalog.pg_terminate_backend(pid)"
                " FROM pg_catalog.pg_stat_activity WHERE usename = {}"
            ).format(_value(checked_name(role)))
        case op.ReassignOwned(role=role, to=to):
            return sql.SQL("REASSIGN OWNED BY {} TO {}").format(
                quote_role(role), quote_role(to)
            )
        case op.DropOwned(role=role):
            return sql.SQL("DROP OWNED BY {}").format(quote_role(role))
        case op.DropRole(name):
            return sql.SQL("DROP ROLE {}").format(quote_role(name))
        case _:
            assert_never(operation)


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
    "PASSWORD": sql.SQL("PASSWORD"),
    "VALID UNTIL": sql.SQL("VALID UNTIL"),
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
        return _value(keyring.seal(mark, on=on))
    return sql.SQL("NULL") if comment is None else _value(comment)


def _parameter(name: str) -> sql.Identifier:
    return sql.Identifier(*map(checked_name, name.split(".")))


def _value(value: str) -> sql.Literal:
    if not is_storable(value):
        raise Rejected("a value holds a character that PostgreSQL cannot store")
    return sql.Literal(value)
