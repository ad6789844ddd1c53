"""What a role is a member of as `memberOf`. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pg_operator.api.names import created_name_problem
from pg_operator.api.validation.memberships import MOST_MEMBERSHIPS, group_problem
from pg_operator.plan.export.documents import shown
from pg_operator.plan.export.inventory import Inventory
from pg_operator.plan.export.selection import PROVIDERS
from pg_operator.plan.state import UNSET, Membership, RoleState


@dataclass(frozen=True, slots=True)
class MembershipExport:
    """The entries, the groups that must be allowed to all for them, and remarks."""

    entries: tuple[dict[str, Any], ...]
    listed: frozenset[str]
    remarks: tuple[str, ...]


def export_memberships(
    role: RoleState, *, inventory: Inventory, roles: Collection[str]
) -> MembershipExport:
    """Return the memberships of a role in groups that objects may name.

    These are the `roles` that become DatabaseRoles, and those that never can by their
    names.
    """
    superusers = {
        one.state.name for one in inventory.roles if one.state.superuser is True
    }
    entries: dict[str, dict[str, Any]] = {}
    listed: set[str] = set()
    remarks: list[str] = []
    for group in sorted({one.role for one in role.memberships}):
        rows = [one for one in role.memberships if one.role == group]
        chosen = _in_charge(rows)
        is_forbidden = group in superusers | inventory.logins
        why = _problem(chosen, is_forbidden=is_forbidden, roles=roles)
        if why is None and len(entries) == MOST_MEMBERSHIPS:
            why = f"a DatabaseRole lists {MOST_MEMBERSHIPS} at most"
        if why is not None:
            remarks.append(f"not in here: membership in {shown(group)}: {why}")
            continue
        entries[group] = _entry(chosen, inherits=role.inherit is not False)
        if group not in roles:
            listed.add(group)
        remarks += _beside(chosen, rows)
    return MembershipExport(tuple(entries.values()), frozenset(listed), tuple(remarks))


def _in_charge(rows: Collection[Membership]) -> Membership:
    """Return the one that is compared with the spec: ours, or else another's."""
    return min(rows, key=lambda one: (not one.own, one.grantor))


def _entry(membership: Membership, *, inherits: bool) -> dict[str, Any]:
    """Write a membership without what is implied."""
    entry: dict[str, Any] = {"role": membership.role}
    if membership.inherit is not UNSET and membership.inherit != inherits:
        entry["inherit"] = membership.inherit
    if membership.set is False:
        entry["set"] = False
    if membership.admin:
        entry["admin"] = True
    return entry


def _problem(
    membership: Membership, *, is_forbidden: bool, roles: Collection[str]
) -> str | None:
    """Return why a membership cannot be declared; None when it can."""
    group = membership.role
    if is_forbidden:
        return "it is a superuser or the operator's own login"
    return None if group in roles else _problem_of_listed(membership)


def _problem_of_listed(membership: Membership) -> str | None:
    """Return why all may not be let into a group; None when it has no other way."""
    group = membership.role
    if group in PROVIDERS:
        return "it is the provider's own"
    problem = group_problem(group)
    if problem is not None:
        return problem.detail
    if created_name_problem("role", group) is None:
        return "no DatabaseRole in here is it, and allowedMemberships would open it"
    return "what all may join cannot be passed on (admin)" if membership.admin else None


def _beside(chosen: Membership, rows: Collection[Membership]) -> Iterator[str]:
    for row in sorted(rows, key=lambda one: one.grantor):
        if row is not chosen:
            yield (
                f"not in here: another membership in {shown(row.role)}, granted by "
                f"{shown(row.grantor)}, which stays beside this one"
            )
        elif not row.own:
            yield (
                f"the membership in {shown(row.role)} was granted by "
                f"{shown(row.grantor)}"
            )
