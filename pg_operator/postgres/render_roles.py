"""Turns the operations on roles into statements, but for privileges and marks."""

from collections.abc import Callable
from typing import Final, assert_never

from psycopg import sql

from pg_operator.plan import operations as op
from pg_operator.plan.parameters import LISTS, items
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS
from pg_operator.plan.state import Membership, Password, Server
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.quote import (
    checked_name,
    quote_name,
    quote_parameter,
    quote_role,
    quote_value,
)

# Makes what PostgreSQL stores of a password, for a role's name.
Verifier = Callable[[Password, str], str]

_ATTRIBUTES: Final[dict[str, sql.SQL]] = {
    "CREATEDB": sql.SQL("CREATEDB"),
    "CREATEROLE": sql.SQL("CREATEROLE"),
    "REPLICATION": sql.SQL("REPLICATION"),
    "BYPASSRLS": sql.SQL("BYPASSRLS"),
}


def render_role(
    operation: op.CreateRole | op.AlterRole, verifier: Verifier
) -> sql.Composed:
    """Return CREATE ROLE or ALTER ROLE, with the options that are given."""
    name = quote_role(operation.name)
    limit, password = operation.connection_limit, operation.password
    options: list[sql.Composable] = []
    if operation.inherit is not None:
        options.append(sql.SQL("INHERIT" if operation.inherit else "NOINHERIT"))
    if operation.valid_until is not None:
        options += [sql.SQL("VALID UNTIL"), quote_value(operation.valid_until)]
    if operation.login is not None:
        options.append(sql.SQL("LOGIN" if operation.login else "NOLOGIN"))
    if limit is not None:
        options += [sql.SQL("CONNECTION LIMIT"), sql.Literal(limit)]
    if password is not None:
        stored = quote_value(verifier(password, operation.name))
        options += [sql.SQL("PASSWORD"), stored]
    start = sql.SQL(
        "CREATE ROLE {} {}"
        if isinstance(operation, op.CreateRole)
        else "ALTER ROLE {} {}"
    )
    return start.format(name, sql.SQL(" ").join(options))


def render_role_property(
    operation: op.SetRoleAttribute | op.SetRoleParameter,
) -> sql.Composed:
    """Return ALTER ROLE for one attribute or parameter.

    Raises:
        Rejected: there is no such attribute, or a value cannot be sent.
    """
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
    name = quote_parameter(parameter.name)
    if value is None:
        return sql.SQL("ALTER ROLE {}{} RESET {}").format(role, where, name)
    several = items(value) if parameter.name in LISTS else (value,)
    values = sql.SQL(", ").join(map(quote_value, several))
    return sql.SQL("ALTER ROLE {}{} SET {} TO {}").format(role, where, name, values)


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


def render_entanglement(
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
    """Return what is about a role and others, its objects, or its end."""
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
            ).format(quote_value(checked_name(role)))
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
