"""A Database: create it, keep it as declared, and let it go."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseSpec
from pg_operator.kube.services import ServiceStatus
from pg_operator.plan.desired import immutable_differences
from pg_operator.plan.policies import Ownership
from pg_operator.plan.state import DatabaseState, Mark, Pending
from pg_operator.postgres.apply import apply
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.database_planning import plan_database
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome
from pg_operator.reconcilers.progress import (
    LOOK_AGAIN,
    is_current,
    partially_applied,
    ready,
    stalled,
    waiting,
    warn_once,
)
from pg_operator.reconcilers.service import reconcile_service
from pg_operator.reconcilers.shared import observe_shared_database
from pg_operator.reconcilers.witness import mark_restored

CREATED: Final = frozenset({Ownership.ABSENT, Ownership.UNFINISHED})


async def reconcile_database(context: Context, key: Key, database: Object) -> Outcome:
    """Make a Database true on its server, then its Service.

    Raises:
        Blocked: it cannot be worked on now.
        PostgresError: the server refused something.
    """
    planned = await plan_database(context, key, database)
    spec, link, seen, owned = planned.spec, planned.link, planned.seen, planned.owned
    applied = await apply(
        planned.plan,
        server=link.server,
        connections=link.connections,
        keyring=context.keyring,
    )
    pending = planned.pending + applied.pending
    observed = seen.state
    if owned in CREATED:
        observed = await observe_shared_database(context, link, spec.name)
    service = await reconcile_service(context, key, database, spec, link)
    if seen.is_full and pending == (seen.refused,) and is_current(database):
        pending = ()  # what others take up says nothing about what was true before
    outcome = _outcome(
        database, spec, observed, pending=pending, service=service, owned=owned
    )
    events = (
        *mark_restored(seen.state, what=f"database '{spec.name}'"),
        *_left(seen.state, planned.extensions),
        *outcome.events,
    )
    return replace(outcome, events=events)


def _left(observed: DatabaseState, declared: Collection[str]) -> Iterator[Event]:
    """Tell which extensions left the spec and stay in the database."""
    recorded = observed.mark.extensions if isinstance(observed.mark, Mark) else set()
    for name in sorted(recorded - frozenset(declared)):
        message = f"Extension '{name}' left the spec; it stays in the database"
        yield Event("Normal", "ExtensionReleased", message)


def _outcome(
    database: Object,
    spec: DatabaseSpec,
    observed: DatabaseState,
    *,
    pending: tuple[Pending, ...],
    service: ServiceStatus | None,
    owned: Ownership,
) -> Outcome:
    """Say what is true now, and what is not."""
    status: dict[str, Any] = {
        "oid": observed.oid,
        "deletionPolicy": spec.deletion_policy,
        "service": spec.database_service_name,
    }
    events: list[Event] = []
    if owned in CREATED:
        created = f"Created database '{spec.name}'"
        events = [Event("Normal", "DatabaseCreated", created)]
    elif owned is Ownership.ADOPTABLE:
        adopted = f"Took over database '{spec.name}'"
        events = [Event("Normal", "DatabaseAdopted", adopted)]
    requeue_after: timedelta | None = None
    immutable = immutable_differences(spec, observed)
    if immutable:
        conditions = stalled(Reason.IMMUTABLE, immutable[0].message)
    elif pending:
        return partially_applied(database, pending, status=status, events=events)
    elif service is not None and not service.ready:
        reason = Reason(service.reason)
        conditions = waiting(reason, service.message)
        events += warn_once(database, reason, service.message)
        # Services are not watched: nothing tells when a foreign one goes.
        requeue_after = LOOK_AGAIN
    else:
        hint = f"; {service.message}" if service is not None and service.message else ""
        conditions = ready(f"database '{spec.name}' is as declared{hint}")
    return Outcome(
        conditions=conditions,
        status=status,
        events=tuple(events),
        requeue_after=requeue_after,
    )
