"""A DatabaseRole: create it, give it its password, and keep its grants exact."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import guard
from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.api.validation import validate_databaserole
from pg_operator.plan.batches import Plan
from pg_operator.plan.creators import databases_closed, groups_left
from pg_operator.plan.deletion import effective_role_policy
from pg_operator.plan.operations import AlterRole, MarkRole
from pg_operator.plan.state import Mark, Password, Pending
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.apply import apply
from pg_operator.reconcilers.binding import (
    Binding,
    read_password,
    reconcile_binding,
)
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome
from pg_operator.reconcilers.permissions import Resolved
from pg_operator.reconcilers.progress import (
    LOOK_AGAIN,
    Blocked,
    partially_applied,
    ready,
)
from pg_operator.reconcilers.role_planning import FoundRole, find_role, plan_role
from pg_operator.reconcilers.shared import observe_shared_role
from pg_operator.reconcilers.witness import mark_restored

MOST_PENDING_SHOWN: Final = 64


async def reconcile_role(context: Context, key: Key, role: Object) -> Outcome:
    """Make a DatabaseRole true on its server.

    Raises:
        Blocked: it cannot be worked on now.
        PostgresError: the server refused something.
    """
    found = await find_role(context, key, role)
    if found.refused is not None:
        return await _take_away(context, key, role, found, why=found.refused)
    spec, link, observed = found.spec, found.link, found.observed
    binding = await reconcile_binding(context, key, role, spec, link)
    password = binding.password
    if isinstance(password, Blocked):
        if not observed.exists:
            raise password
        password = None
    planned = await plan_role(context, key, found, password=password)
    plan, resolved = planned.plan, planned.resolved
    applied = await _apply(context, role, found, plan)
    oid, dependencies = observed.oid, found.dependencies
    if not observed.exists:
        created, dependencies = await observe_shared_role(context, link, spec.role_name)
        oid = created.oid

    status = {
        "oid": oid,
        "deletionPolicy": effective_role_policy(
            spec.deletion_policy, dependencies, mark=planned.mark
        ),
        "passwordFingerprint": _fingerprint(planned.mark),
        "binding": None if binding.secret is None else {"name": binding.secret},
        "grants": _grants_status(resolved, applied),
    }
    events: list[Event] = []
    if applied.statements:
        events = _events(plan, spec.role_name, created=not observed.exists)
    events = [*mark_restored(observed, what=f"role '{spec.role_name}'"), *events]
    if found.is_adopted:
        adopted = f"Took over role '{spec.role_name}'"
        events = [Event("Normal", "RoleAdopted", adopted), *events]
    pending = (*resolved.pending, *applied.pending)
    return _outcome(role, binding, pending, status=status, events=events)


async def _take_away(
    context: Context, key: Key, role: Object, found: FoundRole, *, why: Blocked
) -> Outcome:
    """Take from a role that is let in no more what it may not have in any case.

    What others still let it have it keeps, so that a slip in a list cuts nobody off.
    """
    planned = await plan_role(context, key, found, password=None)
    plan, resolved = planned.plan, planned.resolved
    applied = await _apply(context, role, found, plan)
    outcome = why.outcome(role)
    # What it may not be given needs no look, but a database that could not be entered.
    is_left = any(one.reason == Reason.DATABASE_NOT_READY for one in resolved.pending)
    events: list[Event] = []
    if applied.statements:
        events = _events(plan, found.spec.role_name, created=False)
    return replace(
        outcome,
        # What is not its any more, it is told nothing of.
        status={"grants": _grants_status(replace(resolved, pending=()), applied)},
        events=(*events, *outcome.events),
        requeue_after=LOOK_AGAIN if is_left or applied.pending else None,
    )


async def _apply(
    context: Context, role: Object, found: FoundRole, plan: Plan
) -> Applied:
    """Apply a plan, and wake those who look at what the role may create.

    Raises:
        PostgresError: the server refused something, and maybe not all of it.
    """
    groups = {membership.role for membership in found.observed.memberships}
    try:
        return await apply(
            plan,
            server=found.link.server,
            connections=found.link.connections,
            keyring=context.keyring,
        )
    finally:
        # What is committed before it fails is in no later plan.
        context.creates_less(
            role, closed=databases_closed(plan), left=groups_left(plan, groups)
        )


def _outcome(
    role: Object,
    binding: Binding,
    pending: Sequence[Pending],
    *,
    status: Mapping[str, Any],
    events: Sequence[Event],
) -> Outcome:
    """Say what is true now, and what is not: a password first, then the rest."""
    password = binding.password
    blocked = password if isinstance(password, Blocked) else binding.problem
    if blocked is not None:
        outcome = blocked.outcome(role)
        return replace(outcome, status=status, events=(*events, *outcome.events))
    if pending:
        return partially_applied(role, pending, status=status, events=events)
    name = role["spec"]["roleName"]
    hint = _hint(password) if isinstance(password, Password) else ""
    return Outcome(
        conditions=ready(f"role '{name}' is as declared{hint}"),
        status=status,
        events=tuple(events),
    )


async def password_is_pending(context: Context, key: Key, role: Object) -> bool:
    """Tell whether a Secret holds another password than the server, without asking it.

    The status repeats the fingerprint of the mark: for a server that is away it is the
    last that was seen.
    """
    spec = guard(role["spec"], validate_databaserole(role).errors)
    if spec.stalled:
        return False
    parsed = DatabaseRoleSpec.parse(spec.spec)
    password = await read_password(context, key, role, parsed)
    known = role.get("status", {}).get("passwordFingerprint")
    return isinstance(password, Password) and password.fingerprint != known


def _hint(password: Password) -> str:
    """Say what is often a mistake: `echo` ends a line, and the newline is kept."""
    text = password.text
    if text is None or not text.reveal().endswith("\n"):
        return ""
    return "; the password ends with a newline, which logins must send as well"


def _fingerprint(mark: object) -> str | None:
    return mark.password if isinstance(mark, Mark) else None


def _grants_status(resolved: Resolved, applied: Applied) -> dict[str, Any]:
    """Count the privileges, and list what is missing with its reason."""
    pending = (*resolved.pending, *applied.pending)
    # What is not created yet is not counted: that would change with every creator.
    desired = sum(not grant.on.creator for grant in resolved.grants)
    missing = resolved.grants & applied.ungranted
    return {
        "desired": desired,
        "applied": desired - sum(not grant.on.creator for grant in missing),
        "pending": [
            {"path": part.path, "reason": part.reason, "message": part.message}
            for part in pending[:MOST_PENDING_SHOWN]
        ],
    }


def _events(plan: Plan, role: str, *, created: bool) -> list[Event]:
    """Return the one Event about what was done."""
    if created:
        return [Event("Normal", "RoleCreated", f"Created role '{role}'")]
    passwords = [
        operation
        for operation in plan.operations
        if isinstance(operation, AlterRole) and operation.password is not None
    ]
    if passwords:
        return [
            Event("Normal", "PasswordChanged", f"Set the password of role '{role}'")
        ]
    # Marks are the operator's own book-keeping.
    changes = [str(one) for one in plan.operations if not isinstance(one, MarkRole)]
    if not changes:
        return []
    return [Event("Normal", "RoleUpdated", "; ".join(changes)[:1000])]
