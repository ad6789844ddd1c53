"""Attributes and parameters of a role: what may be, and what it takes to get there."""

from dataclasses import replace

from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.desired import Entitlements, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.operations import (
    AlterRole,
    CreateRole,
    MarkRole,
    SetRoleAttribute,
    SetRoleParameter,
)
from pg_operator.plan.policies import released
from pg_operator.plan.role_properties import (
    DesiredProperties,
    desired_properties,
)
from pg_operator.plan.state import Mark, RoleParameter, RoleState
from tests.unit.plan_examples import ROLE, marked_role, role_spec, server

WORK_MEM = RoleParameter("work_mem")
IN_ORDERS = RoleParameter("work_mem", "orders")
OURS = replace(marked_role(scope=frozenset()), inherit=True, valid_until="infinity")


def desired(
    *attributes: str,
    parameters: dict[RoleParameter, str] | None = None,
    allowed: tuple[str, ...] = (),
    user: tuple[str, ...] = ("work_mem",),
    kept: tuple[RoleParameter, ...] = (),
) -> DesiredProperties:
    return desired_properties(
        attributes,
        parameters or {},
        allowed_attributes=allowed,
        allowed_parameters=allowed,
        contexts=dict.fromkeys(user, "user"),
        kept=kept,
    )


def changes(
    observed: RoleState, properties: DesiredProperties, **spec: object
) -> list[object]:
    parsed: DatabaseRoleSpec = role_spec(**spec)
    wanted = desired_role(
        parsed,
        claimant=ROLE,
        observed=observed,
        server=server(),
        password=None,
        grants=frozenset(),
        scope=frozenset(),
        entitlements=Entitlements(properties=properties),
    )
    operations = diff(wanted, observed).operations
    return [one for one in operations if not isinstance(one, MarkRole)]


def test_attribute_that_the_cluster_does_not_list_is_pending() -> None:
    result = desired("CREATEDB", "BYPASSRLS", allowed=("CREATEDB",))
    assert result.attributes == {"CREATEDB"}
    (pending,) = result.pending
    assert (pending.path, pending.reason) == (
        "spec.attributes[BYPASSRLS]",
        "NotAllowed",
    )


def test_parameter_is_one_that_every_role_may_set_or_one_that_is_listed() -> None:
    asked = {WORK_MEM: "1MB", RoleParameter("log_statement", "orders"): "none"}
    result = desired(parameters=asked)
    assert result.parameters == {WORK_MEM: "1MB"}
    assert result.parameter_scope == {WORK_MEM}
    (pending,) = result.pending
    assert pending.path == "spec.permissions[orders].parameters[log_statement]"
    assert desired(parameters=asked, allowed=("log_statement",)).pending == ()


def test_attribute_that_left_the_spec_or_the_list_is_taken_away() -> None:
    given_ = replace(
        OURS,
        attributes=frozenset({"CREATEDB"}),
        mark=Mark(ROLE, attributes=frozenset({"CREATEDB"})),
    )
    take = [SetRoleAttribute("app", "CREATEDB", on=False)]
    assert changes(given_, desired()) == take
    assert changes(given_, desired("CREATEDB")) == take
    assert changes(given_, desired("CREATEDB", allowed=("CREATEDB",))) == []


def test_attribute_and_parameter_set_by_hand_are_left_alone() -> None:
    by_hand = replace(
        OURS,
        attributes=frozenset({"CREATEDB", "CREATEROLE"}),
        parameters={WORK_MEM: "1GB"},
    )
    assert changes(by_hand, desired()) == []


def test_parameter_is_set_where_it_differs_and_reset_where_it_left() -> None:
    observed = replace(
        OURS,
        parameters={WORK_MEM: "1MB", IN_ORDERS: "2MB"},
        mark=Mark(ROLE, role_parameters=frozenset({WORK_MEM, IN_ORDERS})),
    )
    assert changes(observed, desired(parameters={IN_ORDERS: "3MB"})) == [
        SetRoleParameter("app", WORK_MEM, None),
        SetRoleParameter("app", IN_ORDERS, "3MB"),
    ]
    assert changes(observed, desired(kept=(WORK_MEM, IN_ORDERS))) == []


def test_new_role_is_made_with_what_is_declared() -> None:
    absent = RoleState("app", exists=False, mark=None)
    made, *_ = changes(
        absent, desired(), inherit=False, validUntil="2027-01-31T23:00:00+01:00"
    )
    assert isinstance(made, CreateRole)
    assert (made.inherit, made.valid_until) == (False, "2027-01-31T22:00:00Z")


def test_only_what_differs_is_altered() -> None:
    until = "2027-01-31T22:00:00Z"
    spec = {"inherit": False, "validUntil": until}
    altered = AlterRole("app", inherit=False, valid_until=until)
    assert changes(OURS, desired(), **spec) == [altered]
    same = replace(OURS, inherit=False, valid_until=until)
    assert changes(same, desired(), **spec) == []
    assert changes(same, desired()) == []


def test_retained_role_remembers_what_it_was_given() -> None:
    mark = Mark(
        ROLE, attributes=frozenset({"CREATEDB"}), role_parameters=frozenset({WORK_MEM})
    )
    kept = released(mark)
    assert kept.attributes == mark.attributes
    assert kept.role_parameters == mark.role_parameters
