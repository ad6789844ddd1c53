"""What a DatabaseRole comes to on its server as it is: found, judged, and planned."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import Held, guard
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseRoleSpec
from pg_operator.api.validation import refusal, validate_databaserole
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import Entitlements, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.policies import Ownership
from pg_operator.plan.scope import claim_everything
from pg_operator.plan.shut_out import diff_taking
from pg_operator.plan.state import (
    Claimant,
    Dependencies,
    Marked,
    Password,
    RoleState,
    Unset,
)
from pg_operator.reconcilers.context import Context, claimant_of
from pg_operator.reconcilers.memberships import resolve_memberships
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.ownership import judge_name, ownership_of
from pg_operator.reconcilers.permissions import (
    Resolved,
    resolve_permissions,
    with_grants,
)
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reach import check_allowed, find_cluster
from pg_operator.reconcilers.references import link_to
from pg_operator.reconcilers.role_properties import resolve_properties
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.shared import observe_shared_role


@dataclass(frozen=True, slots=True)
class FoundRole:
    """A role that its object may write, as seen from outside, and where it is.

    `spec` is what the object declares without the parts that are `held` back. Where it
    is `refused`, the role is given nothing more, and only loses what it may not have.
    """

    spec: DatabaseRoleSpec
    held: Sequence[Held]
    cluster: DatabaseClusterSpec
    link: Link
    claimant: Claimant
    observed: RoleState
    dependencies: Dependencies
    is_adopted: bool  # by this very reconcile
    refused: Blocked | None = None


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What is to be done for a DatabaseRole, and what of it cannot be done yet.

    `mark` is what the role's mark will say.
    """

    plan: Plan
    resolved: Resolved
    mark: Marked | Unset = field(repr=False)


async def find_role(context: Context, key: Key, role: Object) -> FoundRole:
    """Go to the server and look whose the role is; nothing is written.

    Raises:
        Blocked: the spec is not valid, the server cannot be used, or the role is not
            this object's.
        PostgresError: the server refused something.
    """
    guarded = guard(role["spec"], validate_databaserole(role).errors)
    if guarded.stalled:
        raise Blocked(Reason.INVALID_SPEC, refusal(guarded.stalled), terminal=True)
    spec = DatabaseRoleSpec.parse(guarded.spec)
    cluster = find_cluster(context.objects, spec.database_cluster_ref.name)
    refused = _why_refused(context, key, cluster, spec)
    if refused is not None and "oid" not in role.get("status", {}):
        raise refused  # it never had a role, and costs the server nothing
    try:
        link = await link_to(context, cluster)
    except Blocked as away:
        raise refused or away from None
    observed, dependencies = await observe_shared_role(context, link, spec.role_name)
    if refused is not None and not _is_its_own(context, key, link, observed):
        raise refused  # and say nothing of whose it is
    owned = judge_name(context, key, cluster, observed, link=link, adopt=spec.adopt)
    return FoundRole(
        spec=spec,
        held=guarded.held,
        cluster=DatabaseClusterSpec.parse(cluster["spec"]),
        link=link,
        claimant=claimant_of(context, key),
        observed=observed,
        dependencies=dependencies,
        is_adopted=owned is Ownership.ADOPTABLE,
        refused=refused,
    )


def _why_refused(
    context: Context, key: Key, cluster: Object, spec: DatabaseRoleSpec
) -> Blocked | None:
    """Say why a DatabaseCluster lets a role in no more; None when it does.

    Raises:
        Blocked: whom it lets in is not known.
    """
    objects, name = context.objects, spec.role_name
    try:
        check_allowed(cluster, key, objects=objects, path="spec.roleName", name=name)
    except Blocked as blocked:
        if blocked.reason != Reason.NOT_ALLOWED:
            raise
        return blocked
    return None


def _is_its_own(context: Context, key: Key, link: Link, observed: RoleState) -> bool:
    claimant = context.claimant(key)
    return claimant is not None and (
        ownership_of(context, link, observed, claimant) is Ownership.OWNED
    )


async def plan_role(
    context: Context,
    key: Key,
    found: FoundRole,
    *,
    password: Password | None,
    enter: bool = True,
) -> RolePlan:
    """Find out what a role needs; nothing is written.

    Without `enter`, what it has inside of databases is left as it is.

    Raises:
        Blocked: the DatabaseCluster went meanwhile.
        PostgresError: the server refused something.
    """
    spec, link, observed = found.spec, found.link, found.observed
    exact = spec.grants_policy == "Exact"
    others = found.dependencies.granted_in if exact else ()
    resolved = await resolve_permissions(
        context,
        key,
        spec,
        link=link,
        observed=observed,
        faulty=found.held,
        others=others,
        enter=enter,
    )
    entitlements = Entitlements(
        await resolve_memberships(
            context,
            key,
            spec,
            cluster=found.cluster,
            link=link,
            observed=observed,
            faulty=found.held,
        ),
        await resolve_properties(
            spec,
            cluster=found.cluster,
            link=link,
            observed=observed,
            pending=resolved.pending,
            faulty=found.held,
        ),
    )
    resolved = replace(resolved, pending=resolved.pending + entitlements.pending)
    observed = with_grants(observed, resolved, found.dependencies)
    if exact:
        observed = claim_everything(observed, resolved.scope)
    desired = desired_role(
        spec,
        claimant=found.claimant,
        observed=observed,
        server=link.server,
        password=password,
        grants=resolved.grants,
        scope=resolved.scope,
        entitlements=entitlements,
    )
    if found.refused is not None:
        resolved = replace(resolved, grants=resolved.grants & observed.grants)
        return RolePlan(diff_taking(desired, observed), resolved, observed.mark)
    return RolePlan(diff(desired, observed), resolved, desired.mark)
