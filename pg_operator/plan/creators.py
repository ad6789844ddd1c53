"""Whose future objects a permission on `*` covers, and who stops creating. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from pg_operator.plan.batches import Plan
from pg_operator.plan.operations import AlterRole, GrantMembership, RevokeMembership
from pg_operator.plan.privileges import RevokePrivileges
from pg_operator.plan.state import UNSET, Membership, Unset


@dataclass(frozen=True, slots=True)
class Creators:
    """Who creates objects in a schema, as observed.

    `writers` are the managed roles that have CREATE on it.
    """

    database_owner: str | Unset = UNSET
    schema_owner: str | Unset = UNSET
    writers: frozenset[str] = frozenset()

    @property
    def everyone(self) -> frozenset[str]:
        """All of them."""
        owners = (self.database_owner, self.schema_owner)
        return self.writers | {owner for owner in owners if owner is not UNSET}


def effective_creators(
    declared: Collection[str] | None, observed: Creators, *, role: str
) -> frozenset[str]:
    """Return the creators whose future objects in a schema `*` covers for a role.

    The role itself is left out: it will own what it creates.

    Args:
        declared: Those of the Database's `creators` that it may name now; None when it
            declares none.
        observed: Who creates in the schema when nobody is declared.
        role: The role.

    """
    creators = observed.everyone if declared is None else frozenset(declared)
    return creators - {role}


def databases_closed(plan: Plan) -> frozenset[str]:
    """Return the databases in which a plan takes CREATE on a schema from its role."""
    return frozenset(
        one.database
        for one in plan.operations
        if isinstance(one, RevokePrivileges)
        and one.kind == "schema"
        and "CREATE" in one.privileges
    )


def groups_left(plan: Plan, groups: Collection[str]) -> frozenset[str]:
    """Return the groups whose rights a plan takes from its role, a member of `groups`.

    It may leave them, or inherit no more.
    """
    left = set[str]()
    for operation in plan.operations:
        match operation:
            case RevokeMembership(group=group):
                left.add(group)
            case GrantMembership(membership=Membership(role=group, inherit=False)):
                left.add(group)
            case AlterRole(inherit=False):
                left.update(groups)
    return frozenset(left)
