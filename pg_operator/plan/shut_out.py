"""What becomes of a role that may be given nothing more. Pure."""

from dataclasses import replace
from typing import Final

from pg_operator.api.specs import WILDCARD
from pg_operator.plan.batches import Plan
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grants
from pg_operator.plan.operations import MarkRole
from pg_operator.plan.scope import covered, declared
from pg_operator.plan.state import Mark, RoleState

_NOTHING: Final = Plan()


def diff_taking(desired: RoleState, observed: RoleState) -> Plan:
    """Return what takes from a role what it is to have no more, and gives it nothing.

    Nothing is written, not even a mark, where there is nothing to take.

    Raises:
        TypeError: one of them has no mark.
    """
    plan = diff(_without_gains(desired, observed), observed)
    is_taking = any(not isinstance(one, MarkRole) for one in plan.operations)
    return plan if is_taking else _NOTHING


def _without_gains(desired: RoleState, observed: RoleState) -> RoleState:
    """Return of a desired state what the role has already."""
    mark, recorded = desired.mark, observed.mark
    if not isinstance(mark, Mark) or not isinstance(recorded, Mark):
        raise TypeError("what a role has is taken from it by its mark")
    attributes = desired.attributes & observed.attributes
    return RoleState(
        name=desired.name,
        attributes=attributes,
        grants=desired.grants & observed.grants,
        mark=replace(
            recorded,
            scope=_still_recorded(mark.scope, recorded.scope),
            memberships=mark.memberships & recorded.memberships,
            attributes=attributes & recorded.attributes,
            role_parameters=mark.role_parameters & recorded.role_parameters,
        ),
    )


def _still_recorded(scope: Grants, recorded: Grants) -> Grants:
    """Return of a scope what was on record, be it by a wildcard or under one now."""
    named = frozenset(one for one in recorded if one.on.name != WILDCARD)
    return covered(scope, recorded) | declared(named, scope)
