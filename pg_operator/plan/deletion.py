"""What deleting an API object does to its database or role. Pure.

Nothing here looks at ownership: ask `policies.ownership(...).may_delete` first.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from pg_operator.plan.operations import (
    AlterDatabase,
    AlterRole,
    DropDatabase,
    DropOwned,
    DropRole,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    Plan,
    ReassignOwned,
    RevokePrivileges,
    TerminateSessions,
)
from pg_operator.plan.policies import released
from pg_operator.plan.state import DatabaseState, Dependencies, Mark, RoleState

DatabasePolicy = Literal["Retain", "Delete"]
RolePolicy = Literal["Delete", "Disable", "Retain"]

# datconnlimit after a DROP DATABASE that was cut off: only dropping is possible then.
INTERRUPTED_DROP: Final = -2


def effective_role_policy(
    policy: RolePolicy | None, dependencies: Dependencies, *, adopted: bool = False
) -> RolePolicy:
    """Return what deletion does: as written, else the safest that leaves no ruins."""
    if policy is not None:
        return policy
    if adopted:
        return "Retain"
    owns = dependencies.owner_in or dependencies.owned_databases
    return "Disable" if owns else "Delete"


def deletion_role(
    observed: RoleState,
    *,
    policy: RolePolicy,
    dependencies: Dependencies,
    database_owners: Mapping[str, str],
    login: str,
) -> Plan:
    """Return what to do with a role when its object goes.

    Args:
        observed: The role as it is.
        policy: The effective one.
        dependencies: Where the role is entangled.
        database_owners: Who gets what the role owns in a database, by database; where
            none is named, or it is the role itself, `login` does.
        login: The operator's own login.

    """
    if not observed.exists:
        return Plan()
    if policy == "Delete":
        return Plan(tuple(_drop_role(observed, dependencies, database_owners, login)))
    if not isinstance(observed.mark, Mark):
        return Plan()
    kept = released(observed.mark)
    if observed.mark == kept:
        return Plan()
    operations: list[Operation] = []
    if policy == "Disable":
        operations += [*_lock_out(observed), TerminateSessions(observed.name)]
    # Last, because from then on nobody comes back to finish the rest.
    return Plan((*operations, MarkRole(observed.name, kept)))


def deletion_database(
    observed: DatabaseState,
    *,
    policy: DatabasePolicy,
    mark: Mark,
) -> Plan:
    """Return what to do with a database when its object goes.

    What keeps it from being dropped must have been looked for: Delete closes it first.
    """
    if not observed.exists:
        return Plan()
    name = observed.name
    if policy == "Retain":
        kept = released(mark)
        return Plan(() if observed.mark == kept else (MarkDatabase(name, kept),))
    closed = observed.allow_connections is False
    if closed or observed.connection_limit == INTERRUPTED_DROP:
        return Plan((DropDatabase(name),))
    return Plan((AlterDatabase(name, allow_connections=False), DropDatabase(name)))


def _drop_role(
    observed: RoleState,
    dependencies: Dependencies,
    database_owners: Mapping[str, str],
    login: str,
) -> Iterator[Operation]:
    name = observed.name
    yield from _lock_out(observed)
    for grant in sorted(observed.grants):
        if grant.on.kind == "database":
            database = grant.on.database
            yield RevokePrivileges(
                name, "database", database, (grant.privilege,), (database,)
            )
    yield TerminateSessions(name)
    # REASSIGN OWNED hands over databases as well, whichever it runs in. So those that
    # the role owns come first and go to the login, not to the owner of another one.
    owned = dependencies.owned_databases
    others = (dependencies.owner_in | dependencies.granted_in) - owned
    for database in (*sorted(owned), *sorted(others)):
        to = login if database in owned else database_owners.get(database, login)
        if database in owned | dependencies.owner_in:
            yield ReassignOwned(database, name, login if to == name else to)
        yield DropOwned(database, name)
    yield DropRole(name)


def _lock_out(observed: RoleState) -> Iterator[Operation]:
    """Let no new session in, and be a member, as who ends the old ones must be."""
    if observed.login is not False:
        yield AlterRole(observed.name, login=False)
    if observed.self_member is False:
        yield GrantRoleToSelf(observed.name)
