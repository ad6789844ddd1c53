"""What a role is a member of, and what it takes to get there."""

from dataclasses import replace
from typing import Any

import pytest

from pg_operator.api.specs import MemberOf
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import deletion_role
from pg_operator.plan.desired import Entitlements, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.memberships import DesiredMemberships, desired_memberships
from pg_operator.plan.operations import (
    CreateRole,
    GrantMembership,
    MarkRole,
    RevokeMembership,
)
from pg_operator.plan.policies import released
from pg_operator.plan.privileges import GrantPrivileges
from pg_operator.plan.state import Dependencies, Mark, Membership, RoleState
from tests.unit.plan_examples import (
    LOGIN,
    PG18,
    ROLE,
    kinds,
    marked_role,
    on_schema,
    role_spec,
    server,
)

PG15 = 150000
READERS = Membership("readers", admin=False, inherit=True, set=True)
OURS = replace(READERS, grantor=LOGIN)
THEIRS = replace(READERS, grantor="dba", own=False)
NOTHING = marked_role(scope=frozenset())


def entry(role: str = "readers", **options: Any) -> MemberOf:
    return MemberOf.parse({"role": role, **options})


def wanted(*entries: MemberOf, version: int = PG18) -> DesiredMemberships:
    return desired_memberships(entries, server_version=version)


def member(*rows: Membership, recorded: tuple[str, ...] = ()) -> RoleState:
    mark = Mark(ROLE, memberships=frozenset(recorded))
    return replace(NOTHING, memberships=frozenset(rows), mark=mark)


def plan(observed: RoleState, memberships: DesiredMemberships) -> Plan:
    desired = desired_role(
        role_spec(),
        claimant=ROLE,
        observed=observed,
        server=server(),
        password=None,
        grants=frozenset(),
        scope=frozenset(),
        entitlements=Entitlements(memberships),
    )
    return diff(desired, observed)


def changes(observed: RoleState, memberships: DesiredMemberships) -> list[object]:
    operations = plan(observed, memberships).operations
    return [one for one in operations if not isinstance(one, MarkRole)]


def test_membership_inherits_and_may_be_set_unless_the_spec_says_otherwise() -> None:
    assert wanted(entry()).wanted == {READERS}
    strict = entry(inherit=False, set=False, admin=True)
    assert wanted(strict).wanted == {Membership("readers", True, False, False)}  # noqa: FBT003


def test_membership_has_no_options_before_postgresql_16() -> None:
    assert wanted(entry(inherit=True), version=PG15).wanted == {Membership("readers")}


@pytest.mark.parametrize("option", ["inherit", "set"])
def test_option_that_the_server_does_not_know_gives_nothing(option: str) -> None:
    """A membership that inherits is more than was asked for."""
    options: dict[str, Any] = {option: False}
    result = wanted(entry(**options), version=PG15)
    assert (result.wanted, result.scope) == (frozenset(), frozenset())
    (pending,) = result.pending
    assert (pending.path, pending.reason) == (
        "spec.memberOf[readers]",
        "OptionNotSupported",
    )


def test_new_role_joins_in_the_transaction_that_makes_it() -> None:
    absent = RoleState("app", exists=False, mark=None)
    (batch,) = plan(absent, wanted(entry())).batches()
    made = [type(operation) for operation in batch.operations]
    assert made[0] is CreateRole
    assert made[-2:] == [GrantMembership, MarkRole]


def test_membership_is_on_record_before_anything_is_granted_elsewhere() -> None:
    observed = member(OURS, recorded=("readers",))
    grants = on_schema("app", "USAGE")
    desired = desired_role(
        role_spec(),
        claimant=ROLE,
        observed=observed,
        server=server(),
        password=None,
        grants=grants,
        scope=grants,
        entitlements=Entitlements(wanted(entry("writers"))),
    )
    operations = diff(desired, observed).operations
    assert kinds(Plan(operations)) == [
        MarkRole,
        RevokeMembership,
        GrantMembership,
        GrantPrivileges,
        MarkRole,
    ]
    first = operations[0]
    assert isinstance(first, MarkRole)
    assert first.mark is not None
    assert first.mark.memberships == {"readers", "writers"}


def test_membership_that_left_the_spec_ends_whoever_granted_it() -> None:
    observed = member(OURS, THEIRS, recorded=("readers",))
    assert changes(observed, wanted()) == [
        RevokeMembership("app", "readers", "dba"),
        RevokeMembership("app", "readers", LOGIN),
    ]


def test_membership_that_never_was_in_the_spec_is_left_alone() -> None:
    assert plan(member(OURS, THEIRS), wanted()) == Plan()


def test_membership_that_cannot_be_judged_now_is_left_alone() -> None:
    observed = member(OURS, recorded=("readers",))
    kept = DesiredMemberships(scope=frozenset({"readers"}))
    assert plan(observed, kept) == Plan()


def test_membership_that_another_gave_needs_none_beside_it() -> None:
    assert changes(member(THEIRS), wanted(entry())) == []


def test_option_is_changed_in_our_membership_beside_anothers() -> None:
    strict = entry(inherit=False)
    (membership,) = wanted(strict).wanted
    for rows in ((OURS,), (OURS, replace(membership, grantor="dba", own=False))):
        observed = member(*rows, recorded=("readers",))
        assert changes(observed, wanted(strict)) == [GrantMembership("app", membership)]


def test_admin_option_that_left_the_spec_goes_with_what_was_passed_on() -> None:
    observed = member(replace(OURS, admin=True), recorded=("readers",))
    assert changes(observed, wanted(entry())) == [
        RevokeMembership("app", "readers", LOGIN, admin_only=True)
    ]


def test_membership_that_could_not_be_ended_stays_on_record() -> None:
    operations = plan(member(OURS, recorded=("readers",)), wanted()).operations
    last = operations[-1]
    assert isinstance(last, MarkRole)
    assert last.mark is not None
    assert last.fallback is not None
    assert last.mark.memberships == frozenset()
    assert last.fallback.memberships == {"readers"}


def test_retained_role_remembers_its_memberships() -> None:
    mark = Mark(ROLE, memberships=frozenset({"readers"}))
    assert released(mark).memberships == {"readers"}
    kept = deletion_role(
        replace(NOTHING, mark=mark),
        policy="Retain",
        dependencies=Dependencies(frozenset(), frozenset(), frozenset()),
        heir=RoleState("heir", exists=False),
        homes={},
    )
    assert kept.operations == (MarkRole("app", released(mark)),)
