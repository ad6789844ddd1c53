"""What a role's permissions mean on the server as it is now."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import Held
from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.grants import Grants
from pg_operator.plan.permissions import (
    declared_scope,
    desired_grants,
)
from pg_operator.plan.privileges import table_of
from pg_operator.plan.scope import hold
from pg_operator.plan.state import (
    NOBODY,
    Catalog,
    Dependencies,
    Mark,
    Pending,
    RoleState,
)
from pg_operator.postgres.errors import DatabaseRefused
from pg_operator.postgres.observe_privileges import Holdings
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.creators import declared_creators
from pg_operator.reconcilers.foresight import Foresight
from pg_operator.reconcilers.inside import look_for_role
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.permission_entries import Entry, observe_entries
from pg_operator.reconcilers.servers import Link


@dataclass(frozen=True, slots=True)
class Resolved:
    """A role's permissions against the server.

    `grants` must be held now, `scope` is what to record as ours, `pending` says what
    cannot be granted yet, and `held` is all that the role has in these databases.
    """

    grants: Grants = frozenset()
    scope: Grants = frozenset()
    pending: tuple[Pending, ...] = ()
    held: Grants = frozenset()

    def __or__(self, other: "Resolved") -> "Resolved":
        return Resolved(
            self.grants | other.grants,
            self.scope | other.scope,
            self.pending + other.pending,
            self.held | other.held,
        )


async def resolve_permissions(
    context: Context,
    key: Key,
    spec: DatabaseRoleSpec,
    *,
    link: Link,
    observed: RoleState,
    faulty: Sequence[Held] = (),
    others: Collection[str] = (),
    enter: bool = True,
) -> Resolved:
    """Observe every database that the role has, had or wants grants in.

    What cannot be granted yet (a database, schema or table is missing, an entry is
    `faulty`) is pending, and what the role had there is left alone. What it may not
    have (any more) is left out, and so revoked. `others` are further databases to look
    into, for a role that may hold nothing else. Without `enter` all stay on record that
    it was granted inside, and only what is granted on databases is looked at.
    """
    mark = observed.mark
    recorded: Grants = mark.scope if isinstance(mark, Mark) else frozenset()
    resolved = _leave_alone(faulty, recorded)
    for entry in await observe_entries(context, key, spec, link, recorded, others):
        if not enter:
            resolved |= _unentered(entry, recorded, link.server.version_number)
            continue
        declared = NOBODY
        if entry.permission is not None and entry.source is not None:
            declared = await declared_creators(
                context, *entry.source, entry.permission, link=link
            )
        resolved |= await _resolve_entry(
            link, entry, observed, declared=declared, foresight=context.foresight
        )
    return resolved


def _leave_alone(faulty: Sequence[Held], recorded: Grants) -> Resolved:
    resolved = Resolved()
    for part in faulty:
        kept: Grants = frozenset()
        if part.database is not None:
            kept = hold(
                recorded,
                database=part.database,
                schema=part.schema,
                kind=part.kind,
                # What the server calls a function is not what the spec does.
                name=None if part.kind == "function" else part.name,
                column=part.column,
            )
        error = Pending(part.error.path, Reason.INVALID_SPEC, part.error.message)
        resolved |= Resolved(scope=kept, pending=(error,))
    return resolved


async def _resolve_entry(
    link: Link,
    entry: Entry,
    observed: RoleState,
    *,
    foresight: Foresight,
    declared: Mapping[str, frozenset[str]] = NOBODY,
) -> Resolved:
    """Look inside a database where something is to be granted or revoked."""
    name, permission = entry.database.name, entry.permission
    version = link.server.version_number
    waits = permission is None and entry.kept and not entry.must_enter
    if waits or not entry.database.exists:
        return Resolved(scope=entry.kept, pending=entry.pending)
    if entry.database.allow_connections is not True:
        return _leave_shut(entry, observed, "the database does not accept connections")
    try:
        inside = await look_for_role(
            link, name, permission, observed, declared=declared, foresight=foresight
        )
    except DatabaseRefused as refused:
        return _leave_shut(entry, observed, str(refused))
    grants: Grants = frozenset()
    scope, pending = entry.kept, entry.pending
    if permission is not None:
        grants, missing = desired_grants(
            permission,
            catalog=inside.catalog,
            server_version=version,
            creators=inside.creators,
        )
        scope |= declared_scope(
            (permission,),
            server_version=version,
            creators=inside.creators,
            functions=inside.catalog.functions,
        )
        pending += missing
    return Resolved(grants, scope, pending, _ours_to_change(inside.holdings, grants))


def _unentered(entry: Entry, recorded: Grants, version: int) -> Resolved:
    """Resolve what is granted on a database itself."""
    kept = entry.kept | hold(recorded, database=entry.database.name)
    if entry.permission is None:
        return Resolved(scope=kept, pending=entry.pending)
    grants, missing = desired_grants(
        entry.permission.model_copy(update={"schemas": ()}),
        catalog=Catalog(entry.database.name, frozenset()),
        server_version=version,
    )
    return Resolved(grants, kept, entry.pending + missing)


def _ours_to_change(holdings: Holdings, wanted: Grants) -> Grants:
    """Return what a role holds, as far as it was given or is wanted.

    What it holds as an owner came from nobody, and is nobody's to take away; but what
    is wanted need not be given to it, nor on the columns of its own tables.
    """
    if not holdings.owned:
        return holdings.grants
    held = frozenset(
        grant
        for grant in holdings.grants
        if grant.on not in holdings.owned or grant in wanted
    )
    by_table = frozenset(
        grant
        for grant in wanted
        if grant.on.kind == "column"
        and table_of(grant.on) in holdings.owned
        and grant._replace(on=table_of(grant.on)) in holdings.grants
    )
    return held | by_table


def _leave_shut(entry: Entry, observed: RoleState, why: str) -> Resolved:
    """Keep on record what was granted in a database that cannot be entered now.

    From outside only what is granted on the database itself can be taken back.
    """
    name, mark = entry.database.name, observed.mark
    recorded: Grants = mark.scope if isinstance(mark, Mark) else frozenset()
    held = hold(recorded, database=name)
    if entry.permission is None:
        held = frozenset(grant for grant in held if grant.on.kind != "database")
    pending = entry.pending
    if held or entry.permission is not None or entry.must_enter:
        message = f"{why}; its privileges are left as they are, and looked at again"
        path = f"spec.permissions[{name}]"
        pending += (Pending(path, Reason.DATABASE_NOT_READY, message),)
    return Resolved(scope=held | entry.kept, pending=pending)


def with_grants(
    observed: RoleState, resolved: Resolved, dependencies: Dependencies
) -> RoleState:
    """Return the role as observed from outside and inside.

    What it holds as an owner came from nobody, and is nobody's to take away.
    """
    grants = frozenset(
        grant
        for grant in observed.grants
        if grant.on.database not in dependencies.owned_databases
        or grant in resolved.grants
    )
    return replace(observed, grants=grants | resolved.held)
