"""What a role is a member of: as a spec wants it, and how to get there. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pg_operator.api.specs import MemberOf
from pg_operator.plan.operations import GrantMembership, RevokeMembership
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS
from pg_operator.plan.state import (
    Mark,
    Membership,
    Memberships,
    Pending,
    RoleState,
    membership_path,
)


@dataclass(frozen=True, slots=True)
class DesiredMemberships:
    """What a role shall be a member of, what to record of it, and what cannot be yet.

    `scope` names the roles that it is, or was and is left a member of.
    """

    wanted: Memberships = frozenset()
    scope: frozenset[str] = frozenset()
    pending: tuple[Pending, ...] = ()


NO_MEMBERSHIPS: Final = DesiredMemberships()


def desired_memberships(
    entries: Iterable[MemberOf], *, server_version: int, inherit: bool = True
) -> DesiredMemberships:
    """Return the memberships that entries ask for: INHERIT and SET, but not ADMIN.

    `inherit` is the role's own attribute: what an entry says nothing else about. Before
    PostgreSQL 16 all follow it, and all may be SET; an entry that says otherwise is
    pending, because granting more than was asked for is no way to be helpful.
    """
    wanted: set[Membership] = set()
    pending: list[Pending] = []
    for entry in entries:
        admin = entry.admin is True
        inherits = inherit if entry.inherit is None else entry.inherit
        if server_version >= MEMBERSHIP_OPTIONS:
            may_set = entry.set_ is not False
            wanted.add(Membership(entry.role, admin, inherits, may_set))
        elif inherits != inherit or entry.set_ is False:
            pending.append(_unsupported(entry, server_version))
        else:
            wanted.add(Membership(entry.role, admin))
    scope = frozenset(membership.role for membership in wanted)
    return DesiredMemberships(frozenset(wanted), scope, tuple(pending))


def diff_memberships(
    desired: RoleState, observed: RoleState, mark: Mark, recorded: Mark | None
) -> tuple[
    tuple[GrantMembership | RevokeMembership, ...], tuple[RevokeMembership, ...]
]:
    """Return what makes a role the member it should be, and what ends the rest.

    Only memberships that the mark records are ended, whoever granted them; other
    grantors' memberships in the same role are left beside ours.
    """
    left = (recorded.memberships if recorded else frozenset()) - mark.memberships
    rows = sorted(observed.memberships, key=lambda row: (row.role, row.grantor))
    leaves = tuple(
        RevokeMembership(desired.name, row.role, row.grantor)
        for row in rows
        if row.role in left
    )
    joins: list[GrantMembership | RevokeMembership] = []
    for want in sorted(desired.memberships, key=lambda one: one.role):
        same = [row for row in rows if row.role == want.role]
        # Ours must be as declared; where there is none, another's may do.
        ours = [row for row in same if row.own] or same
        if any(row.options == want.options for row in ours):
            continue
        excess = [row for row in ours if row.own and row.admin and not want.admin]
        joins += [
            RevokeMembership(desired.name, row.role, row.grantor, admin_only=True)
            for row in excess
        ]
        if not any(row.options[1:] == want.options[1:] for row in excess):
            joins.append(GrantMembership(desired.name, want))
    return tuple(joins), leaves


def _unsupported(entry: MemberOf, server_version: int) -> Pending:
    option = "set" if entry.set_ is False else "inherit"
    return Pending(
        membership_path(entry.role),
        "OptionNotSupported",
        f"PostgreSQL {server_version // 10000} has no option `{option}` for one "
        "membership; remove it or upgrade the server",
    )
