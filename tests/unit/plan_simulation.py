"""A model of the server: what a plan leaves behind when it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pg_operator.plan.grants import Grants
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterRole,
    AlterSchemaOwner,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    GrantMembership,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ResetDatabaseParameter,
    RevokeMembership,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
    SetRoleAttribute,
    SetRoleParameter,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges, table_of
from pg_operator.plan.state import (
    UNSET,
    DatabaseState,
    Locale,
    Membership,
    Memberships,
    RoleState,
    Server,
)
from tests.unit.plan_examples import LOGIN


def simulate_database(
    state: DatabaseState, operations: Iterable[Operation], *, server: Server
) -> DatabaseState:
    """Return a database after the operations ran."""
    for operation in operations:
        state = _database(state, operation, server)
    return state


def simulate_role(state: RoleState, operations: Iterable[Operation]) -> RoleState:
    """Return a role after the operations ran."""
    for operation in operations:
        state = _role(state, operation)
    return state


def _database(
    state: DatabaseState, operation: Operation, server: Server
) -> DatabaseState:
    match operation:
        case CreateDatabase():
            assert not state.exists
            return _created(operation, server)
        case AlterDatabase() | AlterDatabaseOwner():
            return _altered(state, operation)
        case SetDatabaseParameter() | ResetDatabaseParameter():
            return replace(state, settings=_settings(state.settings, operation))
        case MarkDatabase(_, mark, comment):
            return replace(state, mark=mark, comment=comment)
        case RevokePublicOnDatabase(_, privileges):
            assert state.public_privileges is not UNSET
            return replace(
                state, public_privileges=state.public_privileges - {*privileges}
            )
    return _inside(state, operation)


def _inside(state: DatabaseState, operation: Operation) -> DatabaseState:
    assert state.allow_connections is True
    match operation:
        case CreateSchema(_, name):
            assert name not in state.schemas
            owners = {**state.schema_owners, name: LOGIN}
            return replace(state, schemas=state.schemas | {name}, schema_owners=owners)
        case AlterSchemaOwner(_, name, owner):
            assert name in state.schemas
            owners = {**state.schema_owners, name: owner}
            return replace(state, schema_owners=owners)
        case RevokePublicOnSchema():
            return replace(state, public_schema_open=False)
    raise AssertionError(operation)


def _role(state: RoleState, operation: Operation) -> RoleState:
    match operation:
        case CreateRole(name, login, connection_limit, _, inherit, valid_until):
            assert not state.exists
            return RoleState(
                name,
                oid=1,
                login=login,
                superuser=False,
                connection_limit=-1 if connection_limit is None else connection_limit,
                inherit=inherit is not False,
                valid_until=valid_until or "infinity",
                self_member=False,
                mark=None,
            )
        case AlterRole(_, login, connection_limit, _, inherit, valid_until):
            changes = {
                "login": login,
                "connection_limit": connection_limit,
                "inherit": inherit,
                "valid_until": valid_until,
            }
            declared = {name: new for name, new in changes.items() if new is not None}
            return replace(state, **declared)  # type: ignore[arg-type]
        case GrantRoleToSelf():
            return replace(state, self_member=True)
        case MarkRole(_, mark, comment, _):
            return replace(state, mark=mark, comment=comment)
    return _entitled(state, operation)


def _entitled(state: RoleState, operation: Operation) -> RoleState:
    match operation:
        case SetRoleAttribute(_, attribute, on):
            others = state.attributes - {attribute}
            return replace(state, attributes=others | ({attribute} if on else set()))
        case SetRoleParameter(_, parameter, value):
            rest = {one: v for one, v in state.parameters.items() if one != parameter}
            new = {} if value is None else {parameter: value}
            return replace(state, parameters=rest | new)
        case GrantMembership(_, membership):
            return replace(state, memberships=joined(state.memberships, membership))
        case RevokeMembership():
            return replace(state, memberships=_left(state.memberships, operation))
        case GrantPrivileges():
            return replace(state, grants=state.grants | operation.grants())
        case RevokePrivileges():
            return replace(state, grants=state.grants - _taken(operation, state.grants))
    raise AssertionError(operation)


def joined(held: Memberships, granted: Membership) -> Memberships:
    """Return memberships after a GRANT, which changes ours or adds one."""
    others = {row for row in held if row.role != granted.role or not row.own}
    return frozenset({*others, replace(granted, grantor=LOGIN, own=True)})


def _left(held: Memberships, revoked: RevokeMembership) -> Memberships:
    gone = revoked.group, revoked.grantor
    rows = {row for row in held if (row.role, row.grantor) == gone}
    assert rows
    without = {replace(row, admin=False) for row in rows}
    return (held - rows) | (without if revoked.admin_only else set())


def _taken(operation: RevokePrivileges, held: Grants) -> Grants:
    """Return what a REVOKE takes: on a table, the word on its columns, too."""
    named = operation.grants()
    return named | {
        grant
        for grant in held
        if grant.on.kind == "column" and grant._replace(on=table_of(grant.on)) in named
    }


def _settings(
    settings: Mapping[str, str],
    operation: SetDatabaseParameter | ResetDatabaseParameter,
) -> Mapping[str, str]:
    left = {k: v for k, v in settings.items() if k != operation.parameter}
    if isinstance(operation, SetDatabaseParameter):
        return {**left, operation.parameter: operation.value}
    return left


def _altered(
    state: DatabaseState, operation: AlterDatabase | AlterDatabaseOwner
) -> DatabaseState:
    if isinstance(operation, AlterDatabaseOwner):
        return replace(state, owner=operation.owner)
    if operation.allow_connections is not None:
        state = replace(state, allow_connections=operation.allow_connections)
    if operation.connection_limit is not None:
        state = replace(state, connection_limit=operation.connection_limit)
    return state


def _created(operation: CreateDatabase, server: Server) -> DatabaseState:
    return DatabaseState(
        operation.name,
        oid=1,
        owner=server.login,
        encoding=operation.encoding or "UTF8",
        locale=Locale(
            operation.locale.provider or "libc", operation.locale.name or "C"
        ),
        tablespace=operation.tablespace or "pg_default",
        allow_connections=False,
        connection_limit=operation.sentinel,
        public_privileges=frozenset({"CONNECT", "TEMPORARY"}),
        schemas=frozenset({"public"}),
        schema_owners={"public": "pg_database_owner"},
        public_schema_open=server.version_number < 150000,
        mark=None,
    )
