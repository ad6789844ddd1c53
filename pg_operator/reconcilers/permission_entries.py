"""The databases that a role's permissions name, judged from outside."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec, Permission
from pg_operator.plan.grants import Grants
from pg_operator.plan.policies import is_same
from pg_operator.plan.scope import databases, hold
from pg_operator.plan.state import DatabaseState, Mark, Pending
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reach import (
    OPEN_SCHEMAS,
    databases_named,
    lets_in,
    why_not_granted,
    why_not_in_schema,
)
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.shared import observe_shared_databases


@dataclass(frozen=True, slots=True)
class Entry:
    """One database that the spec or the recorded scope names.

    `permission` is what may be granted there now, if anything, by the Database `source`
    that the database belongs to. Of the recorded scope `kept` is left alone, and the
    rest is revoked unless it is permitted; where it `must_enter`, so is all else that
    the role holds there.
    """

    database: DatabaseState
    permission: Permission | None = None
    kept: Grants = frozenset()
    pending: tuple[Pending, ...] = ()
    source: tuple[Key, DatabaseSpec] | None = None
    must_enter: bool = False


async def observe_entries(
    context: Context,
    key: Key,
    spec: DatabaseRoleSpec,
    link: Link,
    recorded: Grants,
    others: Collection[str],
) -> list[Entry]:
    """Look from outside at every database that is named, and judge each entry."""
    permissions = {permission.database: permission for permission in spec.permissions}
    names = sorted(permissions.keys() | databases(recorded) | {*others})
    states = await observe_shared_databases(context, link, names)
    entries = []
    for observed in states.values():
        state = context.foresight.database(link.server, observed)
        permission = permissions.get(state.name)
        entry = Entry(state)
        if permission is not None:
            cluster = spec.database_cluster_ref.name
            entry = _judge(context, key, cluster, permission, state, recorded)
        entries.append(replace(entry, must_enter=state.name in others))
    return entries


def _judge(
    context: Context,
    key: Key,
    cluster: str,
    permission: Permission,
    state: DatabaseState,
    recorded: Grants,
) -> Entry:
    """Tell whether a role of this namespace may be granted in a database now."""
    name = permission.database
    candidates = list(databases_named(context.objects, cluster, name))
    is_open = {
        candidate: lets_in(
            spec.allowed_namespaces,
            key.namespace,
            objects=context.objects,
            own=candidate.namespace,
        )
        for candidate, spec in candidates
    }
    mark = state.mark
    for candidate, spec in candidates:
        claimant = context.claimant(candidate)
        if claimant and isinstance(mark, Mark) and is_same(mark.claimant, claimant):
            if is_open[candidate]:
                entry = _judge_schemas(state, permission, spec, recorded)
                return replace(entry, source=(candidate, spec))
            # Its owner alone decides: rivals for the name open nothing.
            is_open = {candidate: False}
            break
    pending = why_not_granted(
        name,
        cluster=cluster,
        namespace=key.namespace,
        open_to_it=tuple(is_open.values()),
    )
    # What it may not have (any more) is revoked; what is only not there yet is kept.
    kept: Grants = frozenset()
    if pending.reason != Reason.NOT_ALLOWED:
        kept = hold(recorded, database=name)
    return Entry(state, kept=kept, pending=(pending,))


def _judge_schemas(
    state: DatabaseState,
    permission: Permission,
    spec: DatabaseSpec,
    recorded: Grants,
) -> Entry:
    """Leave out schemas that the Database does not list: they are not its own."""
    listed = OPEN_SCHEMAS | set(spec.schema_names)
    foreign = [
        schema.name for schema in permission.schemas if schema.name not in listed
    ]
    kept: Grants = frozenset().union(
        *(hold(recorded, database=state.name, schema=name) for name in foreign)
    )
    pending = tuple(why_not_in_schema(state.name, name) for name in foreign)
    own = tuple(schema for schema in permission.schemas if schema.name in listed)
    permission = permission.model_copy(update={"schemas": own})
    return Entry(state, permission, kept, pending)
