"""What to write so that what is becomes what should be, and nothing else. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeVar, overload

from pg_operator.plan.batches import Plan
from pg_operator.plan.extensions import extension_changes
from pg_operator.plan.memberships import diff_memberships
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterRole,
    AlterSchemaOwner,
    CreateDatabase,
    CreateRole,
    CreateSchema,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ResetDatabaseParameter,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
    takes_away,
)
from pg_operator.plan.policies import is_unfinished, sentinel
from pg_operator.plan.privileges import (
    GrantPrivileges,
    RevokePrivileges,
    privilege_changes,
)
from pg_operator.plan.role_properties import diff_properties
from pg_operator.plan.state import (
    UNSET,
    DatabaseState,
    Locale,
    Mark,
    Password,
    RoleState,
    Unset,
)

# template1 may hold anything, and one session in it blocks for 5 s.
TEMPLATE: Final = "template0"
PUBLIC_SCHEMA: Final = "public"
UNLIMITED: Final = -1
LEAST_TO_WORK: Final = 2  # connections: one may be an application's
# What a database gives PUBLIC when it is created.
DEFAULT_PUBLIC: Final = frozenset({"CONNECT", "TEMPORARY"})

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
        yield CreateDatabase(
            desired.name,
            encoding,
            sentinel(mark.claimant),
            template=TEMPLATE if desired.template is UNSET else desired.template,
            locale=Locale() if desired.locale is UNSET else desired.locale,
            tablespace=None if desired.tablespace is UNSET else desired.tablespace,
        )
    inside = tuple(_from_inside(desired, observed, mark))
    limit = desired.connection_limit
    if inside and limit is not UNSET and 0 <= limit < LEAST_TO_WORK:
        # Whoever works inside needs a connection, too: the limit comes last.
        unlimited = not observed.exists or is_unfinished(observed, mark.claimant)
        first = replace(desired, connection_limit=UNLIMITED if unlimited else UNSET)
        yield from _from_outside(first, observed, mark)
        yield from inside
        yield AlterDatabase(desired.name, connection_limit=limit)
    else:
        yield from _from_outside(desired, observed, mark)
        yield from inside


def _from_outside(
    desired: DatabaseState, observed: DatabaseState, mark: Mark
) -> Iterator[Operation]:
    """Write what stands in shared catalogs, all in one transaction."""
    name = desired.name
    if observed.mark_overwritten or observed.mark != mark:
        yield MarkDatabase(name, mark)
    if desired.public_privileges is not UNSET:
        held = observed.public_privileges
        excess = (DEFAULT_PUBLIC if held is UNSET else held) - desired.public_privileges
        if excess:
            yield RevokePublicOnDatabase(name, tuple(sorted(excess)))
    yield from _settings(desired, observed, mark)
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


def _settings(
    desired: DatabaseState, observed: DatabaseState, mark: Mark
) -> Iterator[Operation]:
    """Set what differs, and reset what we set once and is not declared any more."""
    recorded = observed.mark.parameters if isinstance(observed.mark, Mark) else set()
    left = recorded - mark.parameters - desired.settings.keys()
    for parameter in sorted(left & observed.settings.keys()):
        yield ResetDatabaseParameter(desired.name, parameter)
    for parameter, value in sorted(desired.settings.items()):
        if observed.settings.get(parameter) != value:
            yield SetDatabaseParameter(desired.name, parameter, value)


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
    yield from extension_changes(name, desired.extensions, observed.extensions)
    if desired.public_schema_open is False and observed.public_schema_open is True:
        yield RevokePublicOnSchema(name, PUBLIC_SCHEMA)


def _role(desired: RoleState, observed: RoleState, mark: Mark) -> Iterator[Operation]:
    recorded = observed.mark if isinstance(observed.mark, Mark) else None
    yield from _attributes(desired, observed, recorded)

    old = recorded.scope if recorded else frozenset()
    changes = privilege_changes(
        desired.name,
        desired=desired.grants,
        held=observed.grants,
        recorded=old,
        scope=mark.scope,
    )
    written: list[GrantPrivileges | RevokePrivileges]
    written = [*changes.revokes, *changes.grants]
    inside = sorted(
        (operation for operation in written if operation.kind != "database"),
        key=lambda operation: operation.database,
    )

    properties = diff_properties(desired, observed, mark, recorded)
    joins, leaves = diff_memberships(desired, observed, mark, recorded)
    taken = [*leaves, *(one for one in properties if takes_away(one))]

    # A crash between the first grant and the last revoke must leave a mark that covers
    # both. Without work inside of databases there is one transaction, and no between.
    union = _union(mark, recorded) if recorded else mark
    marked: object = None if observed.mark_overwritten else observed.mark
    if inside and marked != union:
        yield MarkRole(desired.name, union)
        marked = union
    yield from properties
    yield from leaves
    yield from joins
    yield from (operation for operation in written if operation.kind == "database")
    yield from inside
    if marked != mark:
        fallback = union if (changes.revokes or taken) and union != mark else None
        yield MarkRole(desired.name, mark, fallback=fallback)


def _union(mark: Mark, recorded: Mark) -> Mark:
    """Return a mark that has on record what was given and what is to be given."""
    return replace(
        mark,
        scope=recorded.scope | mark.scope,
        memberships=recorded.memberships | mark.memberships,
        attributes=recorded.attributes | mark.attributes,
        role_parameters=recorded.role_parameters | mark.role_parameters,
    )


def has_drifted(observed: RoleState) -> bool:
    """Tell whether somebody else set the password since we did; False when unseen."""
    recorded = observed.mark.verifier if isinstance(observed.mark, Mark) else None
    seen = observed.verifier
    return recorded is not None and seen is not UNSET and seen != recorded


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
            inherit=_change(desired.inherit, UNSET),
            valid_until=_change(desired.valid_until, UNSET),
        )
    else:
        known = recorded.password if recorded else None
        is_known = password is not None and password.fingerprint == known
        if is_known and not has_drifted(observed):
            password = None
        altered = AlterRole(
            name,
            login=_change(desired.login, observed.login),
            connection_limit=_change(
                desired.connection_limit, observed.connection_limit
            ),
            password=password,
            inherit=_change(desired.inherit, observed.inherit),
            valid_until=_change(desired.valid_until, observed.valid_until),
        )
        if altered != AlterRole(name):
            yield altered
    if desired.self_member is True and observed.self_member is not True:
        yield GrantRoleToSelf(name)


def _change(desired: Value | Unset, observed: Value | Unset) -> Value | None:
    """Return a declared value that differs, or None."""
    return None if desired is UNSET or desired == observed else desired
