"""What a Database comes to on its server as it is: looked up, judged, and planned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import Held, guard
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseSpec
from pg_operator.api.validation import refusal, validate_database
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import INTERRUPTED_DROP
from pg_operator.plan.desired import desired_database, without_inside
from pg_operator.plan.diff import diff
from pg_operator.plan.extensions import Extensions, judge_extensions
from pg_operator.plan.operations import DropDatabase
from pg_operator.plan.parameters import Parameters, judge_parameters
from pg_operator.plan.policies import Ownership
from pg_operator.plan.state import UNSET, DatabaseState, Pending
from pg_operator.postgres.observe_extensions import observe_trusted
from pg_operator.postgres.observe_parameters import observe_parameter_contexts
from pg_operator.reconcilers.context import Context, claimant_of
from pg_operator.reconcilers.inside import (
    Seen,
    closed_by_hand,
    look_inside,
    spare_connections,
)
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.ownership import judge_name
from pg_operator.reconcilers.progress import LOOK_AGAIN, Blocked
from pg_operator.reconcilers.reach import check_allowed, find_cluster
from pg_operator.reconcilers.references import link_to
from pg_operator.reconcilers.role_references import resolve_roles
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.shared import observe_shared_database
from pg_operator.reconcilers.templates import check_creation


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """What is to be done for a Database, where, and what cannot be done yet.

    `seen` is the database as it was found, by whoever has it then. `extensions` are the
    names that the document declares, also in entries that were left out.
    """

    spec: DatabaseSpec
    link: Link
    owned: Ownership
    seen: Seen
    desired: DatabaseState
    plan: Plan
    pending: tuple[Pending, ...]
    extensions: frozenset[str]


async def plan_database(
    context: Context, key: Key, database: Object, *, enter: bool = True
) -> DatabasePlan:
    """Find out what a Database needs; nothing is written.

    Without `enter`, what is inside of it is left out.

    Raises:
        Blocked: it cannot be worked on now.
        PostgresError: the server refused something.
    """
    guarded = guard(database["spec"], validate_database(database).errors)
    if guarded.stalled:
        raise Blocked(Reason.INVALID_SPEC, refusal(guarded.stalled), terminal=True)
    spec = DatabaseSpec.parse(guarded.spec)
    cluster = find_cluster(context.objects, spec.database_cluster_ref.name)
    check_allowed(
        cluster, key, objects=context.objects, path="spec.name", name=spec.name
    )
    link = await link_to(context, cluster)
    observed = await observe_shared_database(context, link, spec.name)
    owned = judge_name(context, key, cluster, observed, link=link, adopt=spec.adopt)
    first: tuple[DropDatabase, ...] = ()
    if observed.connection_limit == INTERRUPTED_DROP:
        _check_finish_of_drop(spec, owned)
        first = (DropDatabase(spec.name),)
        observed = DatabaseState(spec.name, exists=False)
        owned = Ownership.ABSENT
    if owned is Ownership.ABSENT:
        allowed = DatabaseClusterSpec.parse(cluster["spec"])
        await check_creation(context, key, spec, allowed, link=link)
    await spare_connections(link, observed)
    seen = await look_inside(link, observed, spec) if enter else Seen(observed)
    declared = {extension.name for extension in spec.extensions}
    declared |= set(_held_entries(guarded.held, "extensions"))
    desired, pending = await _desire(
        context, key, spec, cluster, link=link, seen=seen, held=guarded.held
    )
    if not enter:
        desired = without_inside(desired)
    plan = Plan((*first, *diff(desired, seen.state).operations))
    return DatabasePlan(
        spec, link, owned, seen, desired, plan, pending, frozenset(declared)
    )


def _check_finish_of_drop(spec: DatabaseSpec, owned: Ownership) -> None:
    """Let what an interrupted DROP DATABASE left be dropped, if its object drops it.

    Raises:
        Blocked: it is kept for somebody to look at.
    """
    if not (owned.may_delete and spec.deletion_policy == "Delete"):
        raise Blocked(
            Reason.DATABASE_INVALID,
            f"database '{spec.name}' is invalid: its DROP DATABASE was interrupted, "
            "and nobody can enter it any more; drop it, or set deletionPolicy to "
            "Delete, and it is made anew",
            requeue_after=LOOK_AGAIN,
        )


async def _desire(
    context: Context,
    key: Key,
    spec: DatabaseSpec,
    cluster: Object,
    *,
    link: Link,
    seen: Seen,
    held: Sequence[Held],
) -> tuple[DatabaseState, tuple[Pending, ...]]:
    """Return what the spec wants as far as it may have it now, and what it may not."""
    observed = seen.state
    roles = await resolve_roles(context, key, cluster, spec.named_roles, link=link)
    parameters = await _judge_parameters(spec, cluster, link)
    extensions = await _judge_extensions(spec, cluster, link)
    desired = desired_database(
        spec,
        claimant=claimant_of(context, key),
        observed=observed,
        server=link.server,
        roles=roles.usable,
        parameters=parameters.usable,
        extensions=extensions.usable,
        held={
            "parameters": _held_entries(held, "parameters"),
            "extensions": [
                *_held_entries(held, "extensions"),
                *(extension.name for extension in spec.extensions),
            ],
        },
    )
    pending = (*_held(held), *roles.pending, *parameters.pending, *extensions.pending)
    if seen.refused is not None:
        return without_inside(desired), (*pending, seen.refused)
    if observed.allow_connections is False and desired.allow_connections is UNSET:
        return desired, (*pending, closed_by_hand(observed))
    return desired, pending


async def _judge_extensions(
    spec: DatabaseSpec, cluster: Object, link: Link
) -> Extensions:
    """Tell which extensions of a spec may be made on a server."""
    if not spec.extensions:
        return Extensions()
    async with link.connections.session() as connection:
        trusted = await observe_trusted(connection, spec.extensions)
    return judge_extensions(
        spec.extensions,
        trusted=trusted,
        allowed=DatabaseClusterSpec.parse(cluster["spec"]).allowed_extensions,
    )


async def _judge_parameters(
    spec: DatabaseSpec, cluster: Object, link: Link
) -> Parameters:
    """Tell which settings of a spec may be set on a server."""
    if not spec.parameters:
        return Parameters()
    async with link.connections.session() as connection:
        contexts = await observe_parameter_contexts(connection, spec.parameters.keys())
    return judge_parameters(
        spec.parameters,
        contexts=contexts,
        allowed=DatabaseClusterSpec.parse(cluster["spec"]).allowed_parameters,
    )


def _held_entries(held: Sequence[Held], field: str) -> list[str]:
    """Return the names of the entries of a field that were left out."""
    return [part.path_keys[1] for part in held if part.path_keys[0] == field]


def _held(held: Sequence[Held]) -> Iterator[Pending]:
    """Say what is wrong with the entries that were left out."""
    for part in held:
        yield Pending(part.error.path, Reason.INVALID_SPEC, part.error.message)
