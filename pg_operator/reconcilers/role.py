"""A DatabaseRole: create it, give it its password, and keep its grants exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import guard
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseRoleSpec
from pg_operator.api.validation import refusal, validate_databaserole
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import effective_role_policy
from pg_operator.plan.desired import Entitlements, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.operations import AlterRole, MarkRole
from pg_operator.plan.policies import Consent, Ownership, ownership
from pg_operator.plan.scope import claim_everything
from pg_operator.plan.state import (
    Claimant,
    Dependencies,
    Mark,
    Password,
    Pending,
    RoleState,
)
from pg_operator.postgres.apply import Applied, apply
from pg_operator.postgres.observe import observe_role, observe_verifier
from pg_operator.postgres.observe_dependencies import observe_dependencies
from pg_operator.reconcilers.binding import (
    Binding,
    read_password,
    reconcile_binding,
)
from pg_operator.reconcilers.context import Context, claimant_of
from pg_operator.reconcilers.memberships import resolve_memberships
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome, is_deleting
from pg_operator.reconcilers.ownership import agreed_consent, check_ownership
from pg_operator.reconcilers.permissions import (
    Resolved,
    resolve_permissions,
    with_grants,
)
from pg_operator.reconcilers.progress import (
    Blocked,
    partially_applied,
    ready,
)
from pg_operator.reconcilers.reach import check_allowed, find_cluster, terminating
from pg_operator.reconcilers.references import link_to
from pg_operator.reconcilers.role_properties import resolve_properties
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.witness import mark_restored

MOST_PENDING_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class _Found:
    """A role that its object may write, as seen from outside, and where it is."""

    cluster: DatabaseClusterSpec
    link: Link
    claimant: Claimant
    observed: RoleState
    dependencies: Dependencies
    is_adopted: bool  # by this very reconcile


async def reconcile_role(context: Context, key: Key, role: Object) -> Outcome:
    """Make a DatabaseRole true on its server.

    Raises:
        Blocked: it cannot be worked on now.
        PostgresError: the server refused something.
    """
    guarded = guard(role["spec"], validate_databaserole(role).errors)
    if guarded.stalled:
        raise Blocked(Reason.INVALID_SPEC, refusal(guarded.stalled), terminal=True)
    spec = DatabaseRoleSpec.parse(guarded.spec)
    found = await _find(context, key, spec)
    link, observed, dependencies = found.link, found.observed, found.dependencies
    binding = await reconcile_binding(context, key, role, spec, link)
    password = binding.password
    if isinstance(password, Blocked) and not observed.exists:
        raise password

    exact = spec.grants_policy == "Exact"
    others = dependencies.granted_in if exact else ()
    resolved = await resolve_permissions(
        context,
        key,
        spec,
        link=link,
        observed=observed,
        faulty=guarded.held,
        others=others,
    )
    entitlements = Entitlements(
        await resolve_memberships(
            context,
            key,
            spec,
            cluster=found.cluster,
            link=link,
            observed=observed,
            faulty=guarded.held,
        ),
        await resolve_properties(
            spec,
            cluster=found.cluster,
            link=link,
            observed=observed,
            pending=resolved.pending,
            faulty=guarded.held,
        ),
    )
    resolved = replace(resolved, pending=resolved.pending + entitlements.pending)
    observed = with_grants(observed, resolved, dependencies)
    if exact:
        observed = claim_everything(observed, resolved.scope)
    desired = desired_role(
        spec,
        claimant=found.claimant,
        observed=observed,
        server=link.server,
        password=None if isinstance(password, Blocked) else password,
        grants=resolved.grants,
        scope=resolved.scope,
        entitlements=entitlements,
    )
    plan = diff(desired, observed)
    applied = await apply(
        plan,
        server=link.server,
        connections=link.connections,
        keyring=context.keyring,
    )
    oid = observed.oid
    if not observed.exists:
        created, dependencies = await observe_shared_role(context, link, spec.role_name)
        oid = created.oid

    status = {
        "oid": oid,
        "deletionPolicy": effective_role_policy(
            spec.deletion_policy, dependencies, mark=desired.mark
        ),
        "passwordFingerprint": _fingerprint(desired.mark),
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


async def _find(context: Context, key: Key, spec: DatabaseRoleSpec) -> _Found:
    """Go to the server and look whose the role is.

    Raises:
        Blocked: the server cannot be used, or the role is not this object's.
    """
    cluster = find_cluster(context.objects, spec.database_cluster_ref.name)
    check_allowed(cluster, key, path="spec.roleName", name=spec.role_name)
    link = await link_to(context, cluster)
    claimant = claimant_of(context, key)
    observed, dependencies = await observe_shared_role(context, link, spec.role_name)
    cluster_spec = DatabaseClusterSpec.parse(cluster["spec"])
    owned = role_ownership(
        context,
        link,
        observed,
        claimant,
        consent=agreed_consent(
            cluster_spec, key, name=spec.role_name, adopt=spec.adopt
        ),
    )
    check_ownership(
        owned,
        what=f"role '{spec.role_name}'",
        cluster=spec.database_cluster_ref.name,
    )
    if owned is Ownership.ABSENT and is_deleting(cluster):
        raise terminating(spec.database_cluster_ref.name, what="roles")
    adopted = owned is Ownership.ADOPTABLE
    return _Found(cluster_spec, link, claimant, observed, dependencies, adopted)


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


async def observe_shared_role(
    context: Context, link: Link, name: str
) -> tuple[RoleState, Dependencies]:
    """Observe a role from outside: its row, its mark, and where it is entangled."""
    async with link.connections.session() as connection:
        observed = await observe_role(connection, name, keyring=context.keyring)
        if link.server.read_passwords:
            verifier = await observe_verifier(connection, name, keyring=context.keyring)
            observed = replace(observed, verifier=verifier)
        dependencies = await observe_dependencies(connection, name)
    return context.witness.see(link.server, observed), dependencies


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


def role_ownership(
    context: Context,
    link: Link,
    observed: RoleState,
    claimant: Claimant,
    *,
    consent: Consent = Consent.NONE,
) -> Ownership:
    """Tell whose the observed role is, as seen from one object."""
    return ownership(
        observed,
        claimant=claimant,
        login=link.server.login,
        is_living=context.is_living,
        protected=(link.dsn.user,),
        consent=consent,
    )


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
    existing = {grant for grant in resolved.grants if not grant.on.creator}
    return {
        "desired": len(existing),
        "applied": len(existing - applied.ungranted),
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
