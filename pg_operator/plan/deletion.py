"""What deleting an API object does to its database or role. Pure.

Nothing here looks at ownership: ask `policies.ownership(...).may_delete` first.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

from pg_operator.plan.batches import Plan
from pg_operator.plan.grants import Securable
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterRole,
    CreateRole,
    DropDatabase,
    DropOwned,
    DropRole,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ReassignOwned,
    TerminateSessions,
)
from pg_operator.plan.policies import released
from pg_operator.plan.privileges import GrantPrivileges, revoke_statements
from pg_operator.plan.state import (
    Claimant,
    DatabaseState,
    Dependencies,
    Mark,
    Marked,
    RoleState,
    Unset,
)

DatabasePolicy = Literal["Retain", "Delete"]
RolePolicy = Literal["Delete", "Disable", "Retain"]

# datconnlimit after a DROP DATABASE that was cut off: only dropping is possible then.
INTERRUPTED_DROP: Final = -2


def effective_role_policy(
    policy: RolePolicy | None,
    dependencies: Dependencies,
    *,
    mark: Marked | Unset = None,
) -> RolePolicy:
    """Return what deletion does: as written, else the safest that leaves no ruins."""
    if policy is not None:
        return policy
    if isinstance(mark, Mark) and mark.adopted:
        return "Retain"
    owns = dependencies.owner_in or dependencies.owned_databases
    return "Disable" if owns else "Delete"


def deletion_role(
    observed: RoleState,
    *,
    policy: RolePolicy,
    dependencies: Dependencies,
    heir: RoleState,
    homes: Mapping[str, Collection[str]],
    successor: RoleState | None = None,
    plain: Collection[str] = (),
) -> Plan:
    """Return what to do with a role when its object goes.

    Args:
        observed: The role as it is.
        policy: The effective one.
        dependencies: Where the role is entangled.
        heir: The role, as it is, that gets what a deleted one owns.
        homes: The schemas, by database, in which the role owns anything.
        successor: A role of the same namespace that gets it instead, where it is plain.
        plain: The databases in which the role owns nothing that runs code with the
            rights of its owner: only there a role with rights may become the owner.

    """
    if not observed.exists:
        return Plan()
    if policy == "Delete":
        to = {} if successor is None else dict.fromkeys(plain, successor.name)
        return Plan(tuple(_drop_role(observed, dependencies, heir, homes, to)))
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


def heir_name(claimant: Claimant) -> str:
    """Return the role that gets what deleted roles of a namespace own.

    Code that a tenant wrote runs with the rights of its owner (SECURITY DEFINER, views,
    index expressions), so it must never come to the operator's login, which may alter
    every role, nor to another tenant's. No object of ours can have a colon in its name.
    """
    digest = hashlib.sha256(f"{claimant.owner_id}/{claimant.namespace_uid}".encode())
    return f"pg-operator:orphans:{digest.hexdigest()[:16]}"


def _drop_role(
    observed: RoleState,
    dependencies: Dependencies,
    heir: RoleState,
    homes: Mapping[str, Collection[str]],
    successors: Mapping[str, str],
) -> Iterator[Operation]:
    name = observed.name
    yield from _lock_out(observed)
    on_databases = {g for g in observed.grants if g.on.kind == "database"}
    yield from revoke_statements(name, frozenset(on_databases))
    owner_in = dependencies.owner_in | dependencies.owned_databases
    if not owner_in <= successors.keys():
        yield from _ready_heir(heir)
    yield TerminateSessions(name)
    for database in sorted(owner_in | dependencies.granted_in):
        if database in owner_in and database in successors:
            yield ReassignOwned(database, name, successors[database])
        elif database in owner_in:
            # A new owner of a function must be able to create one where it lies
            # (ALTER FUNCTION, "New owner").
            schemas = sorted(homes.get(database, ()))
            on = tuple(Securable("schema", database, schema) for schema in schemas)
            if on:
                yield GrantPrivileges(heir.name, on, ("CREATE",))
            yield ReassignOwned(database, name, heir.name)
        yield DropOwned(database, name)
    yield DropRole(name)


def _ready_heir(heir: RoleState) -> Iterator[Operation]:
    """Make the heir, which may do nothing and which nobody can log in as."""
    if not heir.exists:
        yield CreateRole(heir.name, login=False, connection_limit=None, password=None)
    if heir.self_member is not True:
        yield GrantRoleToSelf(heir.name)


def _lock_out(observed: RoleState) -> Iterator[Operation]:
    """Let no new session in, and be a member, as who ends the old ones must be."""
    if observed.login is not False:
        yield AlterRole(observed.name, login=False)
    if observed.self_member is False:
        yield GrantRoleToSelf(observed.name)
