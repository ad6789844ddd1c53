"""Laws of what is taken from a role that is to be given nothing more."""

from dataclasses import replace

import pytest
from hypothesis import assume, given

from pg_operator.plan.batches import Plan
from pg_operator.plan.grants import Grants
from pg_operator.plan.scope import covered
from pg_operator.plan.shut_out import diff_taking
from pg_operator.plan.state import Mark, RoleState
from tests.unit.plan_examples import marked_role, on_schema, on_table
from tests.unit.plan_simulation import simulate_role
from tests.unit.test_plan_laws import Case, cases, laws, recorded_scope


def take(case: Case, before: RoleState) -> RoleState:
    plan = diff_taking(case.desired(before), before)
    return simulate_role(before, plan.operations)


@laws
@given(cases())
def test_shut_out_role_gets_nothing(case: Case) -> None:
    before = case.observed
    assume(before.exists)
    after = take(case, before)
    assert after.grants <= before.grants
    assert after.memberships <= before.memberships
    assert after.attributes <= before.attributes
    assert after.parameters.items() <= before.parameters.items()
    untouched = replace(
        before,
        grants=after.grants,
        memberships=after.memberships,
        attributes=after.attributes,
        parameters=after.parameters,
        mark=after.mark,
    )
    assert after == untouched


@laws
@given(cases())
def test_shut_out_role_loses_what_is_on_record_and_not_its_any_more(
    case: Case,
) -> None:
    before = case.observed
    assume(before.exists)
    after, as_let_in = take(case, before), case.reconcile(before)
    ours = covered(before.grants, recorded_scope(before))
    assert ours & after.grants <= as_let_in.grants
    gone = before.grants - after.grants
    assert gone & as_let_in.grants == set()
    # An option goes with its privilege, whoever gave it.
    assert {one._replace(grantable=False) for one in gone} <= {
        one._replace(grantable=False) for one in ours
    }
    assert after.attributes == before.attributes & as_let_in.attributes
    assert after.parameters.keys() == (
        before.parameters.keys() & as_let_in.parameters.keys()
    )
    assert {one.role for one in after.memberships} == (
        {one.role for one in before.memberships}
        & {one.role for one in as_let_in.memberships}
    )


@laws
@given(cases())
def test_what_a_shut_out_role_keeps_stays_on_record_and_nothing_comes_to_it(
    case: Case,
) -> None:
    before = case.observed
    assume(before.exists)
    after = take(case, before)
    recorded, still = recorded_scope(before), recorded_scope(after)
    kept = covered(after.grants, recorded)
    assert covered(after.grants, still) == kept


@laws
@given(cases())
def test_nothing_is_written_for_a_shut_out_role_without_something_to_take(
    case: Case,
) -> None:
    before = case.observed
    assume(before.exists)
    after = take(case, before)
    assert diff_taking(case.desired(after), after) == Plan()
    assert after == before or replace(after, mark=before.mark) != before


ALL, ONE = on_table("*", "SELECT"), on_table("a", "SELECT")
HELD = on_table("a", "SELECT") | on_schema("app", "USAGE")


@pytest.mark.parametrize(("recorded", "declared"), [(ALL, ONE), (ONE, ALL)])
def test_what_is_declared_in_other_words_stays_on_record(
    recorded: Grants, declared: Grants
) -> None:
    observed = marked_role(grants=HELD, scope=recorded | on_schema("app", "USAGE"))
    mark = replace(marked(observed), scope=declared | on_table("b", "DELETE"))
    desired = replace(observed, grants=ONE, mark=mark)
    after = simulate_role(observed, diff_taking(desired, observed).operations)
    assert after.grants == ONE
    assert marked(after).scope == ONE


def marked(role: RoleState) -> Mark:
    assert isinstance(role.mark, Mark)
    return role.mark
