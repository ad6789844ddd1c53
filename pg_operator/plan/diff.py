"""What to write so that what is becomes what should be, and nothing else. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final, TypeVar, overload

from pg_operator.plan.memberships import diff_memberships
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterRole,
    AlterSchemaOwner,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    GrantPrivileges,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    Plan,
    RevokePrivileges,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
)
from pg_operator.plan.policies import is_unfinished, sentinel
from pg_operator.plan.scope import covered
from pg_operator.plan.state import (
    UNSET,
    DatabaseState,
    Grants,
    Mark,
    Password,
    RoleState,
    Securable,
    Unset,
)

PUBLIC_SCHEMA: Final = "public"
# What a database gives PUBLIC when it is created.
DEFAULT_PUBLIC: Final = frozenset({"CONNECT", "TEMPORARY"})
# PostgreSQL 18 locks each named table, and its lock table is finite.
LONGEST_TABLE_LIST: Final = 1000

Value = TypeVar("Value")


@overload
def diff(desired: DatabaseState, observed: DatabaseState) -> Plan: ...
@overload
def diff(desired: RoleState, observed: RoleState) -> Plan: ...
def diff(
    desired: DatabaseState | RoleState, observed: DatabaseState | RoleState
) -> Plan:
    """Return the operations that make `observed` what `desired` declares.

    What `desired` leaves UNSET stays as it is. Ownership is not looked at: ask
    `policies.ownership` first.

    Raises:
        TypeError: the two are not of one kind, or `desired` has no mark.

    """
    match desired, observed:
        case DatabaseState(mark=Mark() as mark), DatabaseState():
            return Plan(tuple(_database(desired, observed, mark)))
        case RoleState(mark=Mark() as mark), RoleState():
            return Plan(tuple(_role(desired, observed, mark)))
    raise TypeError("states of one kind are compared, and the desired one is marked")


def _database(
    desired: DatabaseState, observed: DatabaseState, mark: Mark
) -> Iterator[Operation]:
    if not observed.exists:
        encoding = None if desired.encoding is UNSET else desired.encoding
        yield CreateDatabase(desired.name, encoding, sentinel(mark.claimant))
    yield from _from_outside(desired, observed, mark)
    yield from _from_inside(desired, observed, mark)


def _from_outside(
    desired: DatabaseState, observed: DatabaseState, mark: Mark
) -> Iterator[Operation]:
    """Write what stands in shared catalogs, all in one transaction."""
    name = desired.name
    if observed.mark != mark:
        yield MarkDatabase(name, mark)
    if desired.public_privileges is not UNSET:
        held = observed.public_privileges
        excess = (DEFAULT_PUBLIC if held is UNSET else held) - desired.public_privileges
        if excess:
            yield RevokePublicOnDatabase(name, tuple(sorted(excess)))
    for parameter, value in sorted(desired.settings.items()):
        if observed.settings.get(parameter) != value:
            yield SetDatabaseParameter(name, parameter, value)
    if (owner := _change(desired.owner, observed.owner)) is not None:
        yield AlterDatabaseOwner(name, owner)
    # Last in its transaction: nobody gets in before all of the above is true.
    altered = AlterDatabase(
        name,
        allow_connections=_change(
            desired.allow_connections, observed.allow_connections
        ),
        connection_limit=_change(desired.connection_limit, observed.connection_limit),
    )
    if altered != AlterDatabase(name):
        yield altered


def _from_inside(
    desired: DatabaseState, observed: DatabaseState, mark: Mark
) -> Iterator[Operation]:
    """Write what needs a connection to the database itself."""
    name = desired.name
    if not observed.exists or is_unfinished(observed, mark.claimant):
        # Nobody was ever in it: it is as CREATE DATABASE made it.
        observed = replace(
            observed, schemas=frozenset({PUBLIC_SCHEMA}), public_schema_open=True
        )
    elif observed.allow_connections is False:
        return  # somebody closed it: nobody can look or work inside
    for schema in sorted(desired.schemas - observed.schemas):
        yield CreateSchema(name, schema)
    for schema, owner in sorted(desired.schema_owners.items()):
        if observed.schema_owners.get(schema) != owner:
            yield AlterSchemaOwner(name, schema, owner)
    if desired.public_schema_open is False and observed.public_schema_open is True:
        yield RevokePublicOnSchema(name, PUBLIC_SCHEMA)


def _role(desired: RoleState, observed: RoleState, mark: Mark) -> Iterator[Operation]:
    recorded = observed.mark if isinstance(observed.mark, Mark) else None
    yield from _attributes(desired, observed, recorded)

    old = recorded.scope if recorded else frozenset()
    ours = covered(observed.grants, old)
    revoked = ours - covered(ours, mark.scope)
    granted = desired.grants - observed.grants
    revokes = tuple(_statements(RevokePrivileges, desired.name, revoked))
    grants = tuple(_statements(GrantPrivileges, desired.name, granted))
    inside = _inside_databases((*revokes, *grants))

    joins, leaves = diff_memberships(desired, observed, mark, recorded)

    # A crash between the first grant and the last revoke must leave a mark that covers
    # both. Without work inside of databases there is one transaction, and no between.
    union = replace(
        mark,
        scope=old | mark.scope,
        memberships=mark.memberships | (recorded.memberships if recorded else set()),
    )
    marked: object = observed.mark
    if inside and marked != union:
        yield MarkRole(desired.name, union)
        marked = union
    yield from leaves
    yield from joins
    yield from (operation for operation in revokes if operation.kind == "database")
    yield from (operation for operation in grants if operation.kind == "database")
    yield from inside
    if marked != mark:
        fallback = union if (revokes or leaves) and union != mark else None
        yield MarkRole(desired.name, mark, fallback=fallback)


def _attributes(
    desired: RoleState, observed: RoleState, recorded: Mark | None
) -> Iterator[Operation]:
    name = desired.name
    password = desired.password if isinstance(desired.password, Password) else None
    if not observed.exists:
        yield CreateRole(
            name,
            login=desired.login is True,
            connection_limit=_change(desired.connection_limit, UNSET),
            password=password,
        )
    else:
        known = recorded.password if recorded else None
        if password is not None and password.fingerprint == known:
            password = None
        altered = AlterRole(
            name,
            login=_change(desired.login, observed.login),
            connection_limit=_change(
                desired.connection_limit, observed.connection_limit
            ),
            password=password,
        )
        if altered != AlterRole(name):
            yield altered
    if desired.self_member is True and observed.self_member is not True:
        yield GrantRoleToSelf(name)


def _change(desired: Value | Unset, observed: Value | Unset) -> Value | None:
    """Return a declared value that differs, or None."""
    return None if desired is UNSET or desired == observed else desired


Statement = TypeVar("Statement", GrantPrivileges, RevokePrivileges)


def _statements(
    make: type[Statement], role: str, grants: Grants
) -> Iterator[Statement]:
    """Write grants as few statements: tables of a schema that share their words."""
    words: defaultdict[Securable, set[str]] = defaultdict(set)
    for grant in grants:
        words[grant.on].add(grant.privilege)
    groups: defaultdict[tuple[Securable, tuple[str, ...]], list[str]]
    groups = defaultdict(list)
    for on, held in words.items():
        if on.kind == "table":
            groups[replace(on, table=""), tuple(sorted(held))].append(on.table)
        else:
            name = on.schema if on.kind == "schema" else on.database
            groups[on, tuple(sorted(held))].append(name)
    for (on, privileges), objects in sorted(groups.items()):
        for names in _chunks(sorted(objects), LONGEST_TABLE_LIST):
            yield make(
                role=role,
                kind=on.kind,
                database=on.database,
                privileges=privileges,
                objects=names,
                schema=on.schema if on.kind == "table" else "",
            )


def _inside_databases(
    operations: Iterable[GrantPrivileges | RevokePrivileges],
) -> tuple[GrantPrivileges | RevokePrivileges, ...]:
    """Order what runs inside of databases: each once, first taking, then giving."""
    inside = [operation for operation in operations if operation.kind != "database"]
    return tuple(
        sorted(inside, key=lambda operation: (operation.database, _step(operation)))
    )


def _step(operation: GrantPrivileges | RevokePrivileges) -> tuple[bool, bool]:
    # A schema opens before its tables, and closes after them.
    grants = isinstance(operation, GrantPrivileges)
    return grants, grants == (operation.kind == "table")


def _chunks(names: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(names)
    while chunk := tuple(islice(rest, size)):
        yield chunk
