"""What deleting an object does on the server."""

from dataclasses import replace

import pytest

from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import (
    DatabasePolicy,
    RolePolicy,
    deletion_database,
    deletion_role,
    effective_role_policy,
    heir_name,
)
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterRole,
    CreateRole,
    DropDatabase,
    DropOwned,
    DropRole,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ReassignOwned,
    TerminateSessions,
)
from pg_operator.plan.policies import released, sentinel
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import DatabaseState, Dependencies, Mark, RoleState
from tests.unit.plan_examples import (
    DATABASE,
    LOGIN,
    ROLE,
    marked_role,
    on_database,
    on_table,
    securables,
)

SCOPE = on_table("*", "SELECT")
APP = marked_role(scope=SCOPE)
HEIR = RoleState(heir_name(ROLE), login=False, superuser=False, self_member=True)
HOMES = {"orders": frozenset({"sales", "app"})}
FREE = Dependencies(frozenset(), frozenset(), frozenset())


def entangled(
    *,
    owner_in: tuple[str, ...] = (),
    granted_in: tuple[str, ...] = (),
    owned_databases: tuple[str, ...] = (),
) -> Dependencies:
    return Dependencies(
        frozenset(owner_in), frozenset(granted_in), frozenset(owned_databases)
    )


def delete_role(
    observed: RoleState,
    dependencies: Dependencies = FREE,
    *,
    policy: RolePolicy = "Delete",
) -> Plan:
    return deletion_role(
        observed,
        policy=policy,
        dependencies=dependencies,
        heir=HEIR,
        homes=HOMES,
    )


def delete_database(
    observed: DatabaseState, policy: DatabasePolicy
) -> tuple[Operation, ...]:
    plan = deletion_database(observed, policy=policy, mark=Mark(DATABASE))
    return plan.operations


# The policy


@pytest.mark.parametrize(
    ("dependencies", "policy"),
    [
        (FREE, "Delete"),
        (entangled(granted_in=("orders",)), "Delete"),
        (entangled(owner_in=("orders",)), "Disable"),
        (entangled(owned_databases=("orders",)), "Disable"),
    ],
)
def test_unset_policy_keeps_a_role_that_owns_something(
    dependencies: Dependencies, policy: RolePolicy
) -> None:
    assert effective_role_policy(None, dependencies) == policy


@pytest.mark.parametrize("written", ["Delete", "Disable", "Retain"])
def test_written_policy_holds(written: RolePolicy) -> None:
    owns = entangled(owner_in=("orders",))
    assert effective_role_policy(written, owns) == written


def test_unset_policy_keeps_a_role_that_was_taken_over() -> None:
    mark = Mark(ROLE, adopted=True)
    assert effective_role_policy(None, FREE, mark=mark) == "Retain"
    assert effective_role_policy("Delete", FREE, mark=mark) == "Delete"


# Roles


def test_role_without_dependencies_is_shut_out_then_dropped() -> None:
    assert delete_role(APP).operations == (
        AlterRole("app", login=False),
        TerminateSessions("app"),
        DropRole("app"),
    )


def test_sessions_end_after_new_ones_are_shut_out_for_good() -> None:
    shut, end, drop = delete_role(APP).batches()
    assert shut.operations == (AlterRole("app", login=False),)
    assert shut.transactional
    assert not end.transactional
    assert drop.operations == (DropRole("app"),)


def test_what_a_role_owns_goes_to_the_heir_of_its_namespace() -> None:
    plan = delete_role(APP, entangled(owner_in=("orders",), granted_in=("stock",)))
    assert plan.operations[2:] == (
        GrantPrivileges(
            HEIR.name, securables("schema", "orders", ("app", "sales")), ("CREATE",)
        ),
        ReassignOwned("orders", "app", HEIR.name),
        DropOwned("orders", "app"),
        DropOwned("stock", "app"),
        DropRole("app"),
    )


def test_heir_is_made_when_it_is_needed() -> None:
    absent = RoleState(HEIR.name, exists=False, mark=None)
    made = (
        CreateRole(HEIR.name, login=False, connection_limit=None, password=None),
        GrantRoleToSelf(HEIR.name),
    )
    for dependencies, wanted in ((FREE, ()), (entangled(owner_in=("crm",)), made)):
        plan = deletion_role(
            APP, policy="Delete", dependencies=dependencies, heir=absent, homes={}
        )
        steps = (CreateRole, GrantRoleToSelf)
        found = tuple(step for step in plan.operations if isinstance(step, steps))
        assert found == wanted


def test_heirs_of_two_namespaces_are_two_roles_that_no_object_can_name() -> None:
    other = replace(ROLE, namespace_uid="another")
    assert heir_name(ROLE) == heir_name(replace(ROLE, name="another"))
    assert heir_name(ROLE) != heir_name(other)
    assert len(heir_name(ROLE)) <= 63
    assert ":" in heir_name(ROLE)


def test_each_database_is_visited_once() -> None:
    everywhere = entangled(
        owner_in=("orders",), granted_in=("orders",), owned_databases=("orders",)
    )
    assert delete_role(APP, everywhere).operations[3:] == (
        ReassignOwned("orders", "app", HEIR.name),
        DropOwned("orders", "app"),
        DropRole("app"),
    )


def test_database_privileges_go_at_once() -> None:
    held = on_database("orders", "CONNECT") | on_table("a", "SELECT")
    shut = delete_role(replace(APP, grants=held)).batches()[0]
    assert shut.operations == (
        AlterRole("app", login=False),
        RevokePrivileges(
            "app", securables("database", "orders", ("orders",)), ("CONNECT",)
        ),
    )
    assert shut.locks == ("database:orders", "role:app")


def test_login_that_lost_its_membership_takes_it_back_before_reassigning() -> None:
    plan = delete_role(replace(APP, self_member=False), entangled(owner_in=("orders",)))
    steps = plan.operations
    assert steps.index(GrantRoleToSelf("app")) < steps.index(
        ReassignOwned("orders", "app", HEIR.name)
    )


def test_disabled_role_keeps_everything_but_its_login_and_sessions() -> None:
    plan = delete_role(APP, policy="Disable")
    assert plan.operations == (
        AlterRole("app", login=False),
        TerminateSessions("app"),
        MarkRole("app", Mark(ROLE, state="released", scope=SCOPE)),
    )
    assert [batch.transactional for batch in plan.batches()] == [True, False, True]


def test_retained_role_is_only_marked() -> None:
    assert delete_role(APP, policy="Retain").operations == (
        MarkRole("app", Mark(ROLE, state="released", scope=SCOPE)),
    )


@pytest.mark.parametrize("policy", ["Disable", "Retain"])
def test_kept_role_needs_nothing_the_second_time(policy: RolePolicy) -> None:
    kept = replace(APP, login=False, mark=released(Mark(ROLE, scope=SCOPE)))
    assert not delete_role(kept, policy=policy)


@pytest.mark.parametrize("policy", ["Delete", "Disable", "Retain"])
def test_role_that_is_gone_needs_nothing(policy: RolePolicy) -> None:
    assert not delete_role(RoleState("app", exists=False), policy=policy)


# Databases

OURS = DatabaseState(
    "orders",
    owner=LOGIN,
    allow_connections=True,
    connection_limit=-1,
    mark=Mark(DATABASE),
)
UNFINISHED = replace(
    OURS, allow_connections=False, connection_limit=sentinel(DATABASE), mark=None
)


def test_deleted_database_is_closed_first() -> None:
    assert delete_database(OURS, "Delete") == (
        AlterDatabase("orders", allow_connections=False),
        DropDatabase("orders"),
    )


@pytest.mark.parametrize(
    "observed",
    [
        replace(OURS, allow_connections=False),
        UNFINISHED,
        # A DROP DATABASE that was cut off: nothing but dropping works.
        replace(OURS, connection_limit=-2),
    ],
)
def test_database_that_is_closed_or_half_dropped_is_dropped(
    observed: DatabaseState,
) -> None:
    assert delete_database(observed, "Delete") == (DropDatabase("orders"),)


def test_database_is_dropped_outside_a_transaction_after_it_was_closed() -> None:
    plan = deletion_database(OURS, policy="Delete", mark=Mark(DATABASE))
    closing, dropping = plan.batches()
    assert closing.transactional
    assert not dropping.transactional


@pytest.mark.parametrize("observed", [OURS, UNFINISHED])
def test_retained_database_is_only_marked(observed: DatabaseState) -> None:
    mark = Mark(DATABASE, state="released")
    assert delete_database(observed, "Retain") == (MarkDatabase("orders", mark),)
    assert delete_database(replace(observed, mark=mark), "Retain") == ()


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_database_that_is_gone_needs_nothing(policy: DatabasePolicy) -> None:
    assert delete_database(DatabaseState("orders", exists=False), policy) == ()


SUCCESSOR = RoleState("owner", login=True, superuser=False, self_member=True)


def test_plain_things_go_to_the_successor_and_code_to_the_heir() -> None:
    """Code runs with the rights of its owner, and the successor may have some."""
    plan = deletion_role(
        APP,
        policy="Delete",
        dependencies=entangled(owner_in=("code", "orders"), granted_in=("stock",)),
        heir=HEIR,
        homes=HOMES,
        successor=SUCCESSOR,
        plain=("orders",),
    )
    reassigned = [one for one in plan.operations if isinstance(one, ReassignOwned)]
    assert reassigned == [
        ReassignOwned("code", "app", HEIR.name),
        ReassignOwned("orders", "app", "owner"),
    ]
    assert not any(
        isinstance(one, GrantPrivileges) and one.role == "owner"
        for one in plan.operations
    )


def test_heir_is_not_made_where_the_successor_gets_all() -> None:
    plan = deletion_role(
        APP,
        policy="Delete",
        dependencies=entangled(owner_in=("orders",), owned_databases=("mine",)),
        heir=replace(HEIR, exists=False, self_member=False),
        homes=HOMES,
        successor=SUCCESSOR,
        plain=("orders", "mine"),
    )
    assert not any(isinstance(one, CreateRole) for one in plan.operations)
    assert ReassignOwned("mine", "app", "owner") in plan.operations


def test_successor_gets_nothing_of_a_disabled_role() -> None:
    plan = deletion_role(
        APP,
        policy="Disable",
        dependencies=entangled(owner_in=("orders",)),
        heir=HEIR,
        homes=HOMES,
        successor=SUCCESSOR,
        plain=("orders",),
    )
    assert not any(isinstance(one, ReassignOwned) for one in plan.operations)
