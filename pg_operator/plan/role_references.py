"""Whether an object may name a role as owner, creator or the like. Pure.

A role is named by its name in PostgreSQL. The mark on the server says whose it is: that
some object of the namespace asks for the name proves nothing.
"""

import enum
from collections.abc import Collection

from pg_operator.plan.policies import is_managed_by
from pg_operator.plan.state import Claimant, RoleState


class RoleStanding(enum.Enum):
    """What a role is to an object that names it."""

    USABLE = "Usable"
    ABSENT = "Absent"  # listed for everybody, but not there
    NOT_READY = "NotReady"  # declared in the namespace, and not made yet
    POWERFUL = "Powerful"  # is or may become a superuser or the operator's login
    FOREIGN = "Foreign"  # neither listed nor the namespace's own


def role_standing(
    role: RoleState, *, declared_by: Collection[Claimant], is_listed: bool
) -> RoleStanding:
    """Judge a role for the objects of one namespace.

    Args:
        role: The role as observed; its mark must have been.
        declared_by: The living DatabaseRoles of the namespace that ask for its name.
        is_listed: Whether the DatabaseCluster lists it for every namespace.

    """
    if not (is_listed or declared_by):
        return RoleStanding.FOREIGN
    if is_listed and not role.exists:
        return RoleStanding.ABSENT
    if not (is_listed or is_managed_by(role, declared_by)):
        return RoleStanding.NOT_READY
    # No list is meant to go as far as that, and it may have become so by hand.
    return RoleStanding.POWERFUL if role.powerful is True else RoleStanding.USABLE
