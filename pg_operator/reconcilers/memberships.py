"""Which roles a role may be a member of, as things are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import Held
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseRoleSpec, MemberOf
from pg_operator.plan.memberships import (
    DesiredMemberships,
    desired_memberships,
)
from pg_operator.plan.policies import is_of_one_namespace
from pg_operator.plan.role_references import RoleStanding, role_standing
from pg_operator.plan.state import Mark, Pending, RoleState, membership_path
from pg_operator.postgres.observe_roles import observe_roles
from pg_operator.reconcilers.context import Context, claimant_of
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reach import why_not_joined, why_not_passed_on
from pg_operator.reconcilers.role_references import declared_by
from pg_operator.reconcilers.servers import Link


async def resolve_memberships(
    context: Context,
    key: Key,
    spec: DatabaseRoleSpec,
    *,
    cluster: DatabaseClusterSpec,
    link: Link,
    observed: RoleState,
    faulty: Sequence[Held] = (),
) -> DesiredMemberships:
    """Look at every role that is named, and judge each entry.

    A role may join those that DatabaseRoles of its own namespace made, and those that
    the DatabaseCluster lists. What is only missing yet, or `faulty`, is left as it is;
    what it may not join (any more), it leaves.
    """
    judge = _Judge(context, key, spec.database_cluster_ref.name, cluster, link)
    pending: list[Pending] = []
    able: list[MemberOf] = []
    kept = {part.member_of for part in faulty if part.member_of is not None}
    for group, entry in await _observe_groups(context, link, spec.member_of):
        problem = judge.problem(entry, group)
        if problem is None:
            able.append(entry)
            continue
        pending.append(problem)
        if problem.reason != Reason.NOT_ALLOWED:
            kept.add(entry.role)
    wanted = desired_memberships(
        able,
        server_version=link.server.version_number,
        inherit=spec.inherit is not False,
    )
    kept |= {entry.role for entry in able} - wanted.scope
    mark = observed.mark
    recorded = mark.memberships if isinstance(mark, Mark) else frozenset()
    return DesiredMemberships(
        wanted.wanted, wanted.scope | (recorded & kept), (*pending, *wanted.pending)
    )


async def _observe_groups(
    context: Context, link: Link, entries: Sequence[MemberOf]
) -> list[tuple[RoleState, MemberOf]]:
    if not entries:
        return []
    async with link.connections.session() as connection:
        groups = await observe_roles(
            connection, {entry.role for entry in entries}, keyring=context.keyring
        )
    foresee = partial(context.foresight.role, link.server)
    return [(foresee(groups[entry.role]), entry) for entry in entries]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Tells whether a role of one namespace may join another role."""

    context: Context
    key: Key
    cluster_name: str
    cluster: DatabaseClusterSpec
    link: Link

    def problem(self, entry: MemberOf, group: RoleState) -> Pending | None:
        """Return why the role cannot join a group now; None when it may."""
        name = entry.role
        is_operator = name in {self.link.server.login, self.link.dsn.user}
        if is_operator or group.powerful is True:
            return _pending(
                name,
                Reason.NOT_ALLOWED,
                f"role '{name}' is, or may become, a superuser or the operator's own "
                "login, which nobody may be a member of",
            )
        if name in self.cluster.allowed_memberships:
            return _problem_of_listed(entry, group)
        return self._problem_of_own(name, group)

    def _problem_of_own(self, name: str, group: RoleState) -> Pending | None:
        owners = tuple(declared_by(self.context, self.key, self.cluster_name, name))
        standing = role_standing(group, declared_by=owners, is_listed=False)
        if standing is RoleStanding.USABLE:
            return None
        if group.exists and not self._is_of_this_namespace(group):
            return _pending(
                name,
                Reason.NOT_ALLOWED,
                f"role '{name}' belongs to no DatabaseRole of this namespace; ask the "
                "administrator of the DatabaseCluster to add it to "
                "spec.allowedMemberships",
            )
        return why_not_joined(name, standing)

    def _is_of_this_namespace(self, group: RoleState) -> bool:
        """Tell whether the mark, not a document that anybody can write, says so."""
        mine, mark = claimant_of(self.context, self.key), group.mark
        return isinstance(mark, Mark) and is_of_one_namespace(mark.claimant, mine)


def _problem_of_listed(entry: MemberOf, group: RoleState) -> Pending | None:
    name = entry.role
    if entry.admin is True:
        return why_not_passed_on(name)
    if not group.exists:
        return _pending(
            name,
            Reason.ROLE_NOT_FOUND,
            f"role '{name}', which the DatabaseCluster lists, does not exist on the "
            "server",
        )
    return None


def _pending(role: str, reason: Reason, message: str) -> Pending:
    return Pending(membership_path(role), reason, message)
