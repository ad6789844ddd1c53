"""Who owns databases and schemas, and which roles a Database may name for that."""

from dataclasses import replace

import pytest

from pg_operator.plan.creators import Creators, effective_creators
from pg_operator.plan.desired import desired_database
from pg_operator.plan.diff import diff
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterSchemaOwner,
    CreateSchema,
    Operation,
)
from pg_operator.plan.policies import released
from pg_operator.plan.role_references import RoleStanding, role_standing
from pg_operator.plan.state import DatabaseState, Mark, Marked, RoleState
from tests.unit.plan_examples import DATABASE, LOGIN, ROLE, database_spec, server
from tests.unit.test_plan_database import ABSENT, OURS

NEIGHBOUR = replace(ROLE, namespace="crm", namespace_uid="crm-uid")


def operations(
    observed: DatabaseState, *usable: str, **fields: object
) -> tuple[Operation, ...]:
    desired = desired_database(
        database_spec(**fields),
        claimant=DATABASE,
        observed=observed,
        server=server(),
        roles=usable,
    )
    return diff(desired, observed).operations


def test_new_database_gets_its_owner_before_it_opens() -> None:
    *_, owner, opening = operations(ABSENT, "app", owner="app")
    assert owner == AlterDatabaseOwner("orders", "app")
    assert isinstance(opening, AlterDatabase)


def test_owner_that_may_not_be_named_now_leaves_the_database_as_it_is() -> None:
    assert operations(OURS, owner="app") == ()


def test_owner_that_left_the_spec_stays() -> None:
    assert operations(replace(OURS, owner="app"), "app") == ()


def test_new_schema_gets_its_own_owner_or_the_databases() -> None:
    schemas = [{"name": "app", "owner": "app"}, {"name": "log"}]
    spec = {"owner": "owner", "schemas": schemas}
    assert operations(replace(OURS, owner="owner"), "app", "owner", **spec) == (
        CreateSchema("orders", "app"),
        CreateSchema("orders", "log"),
        AlterSchemaOwner("orders", "app", "app"),
        AlterSchemaOwner("orders", "log", "owner"),
    )


def test_new_schema_waits_for_its_owner_and_others_do_not() -> None:
    schemas = [{"name": "app", "owner": "app"}, {"name": "log"}]
    assert operations(OURS, schemas=schemas) == (CreateSchema("orders", "log"),)


def test_existing_schema_changes_hands_only_by_its_own_owner() -> None:
    observed = replace(
        OURS,
        owner="owner",
        schemas=frozenset({"app", "log", "public"}),
        schema_owners={"app": LOGIN, "log": LOGIN, "public": "pg_database_owner"},
    )
    schemas = [{"name": "app", "owner": "app"}, {"name": "log"}, {"name": "public"}]
    spec = {"owner": "owner", "schemas": schemas}
    assert operations(observed, "app", "owner", **spec) == (
        AlterSchemaOwner("orders", "app", "app"),
    )


@pytest.mark.parametrize(
    ("mark", "declared", "listed", "expected"),
    [
        (Mark(ROLE), True, False, RoleStanding.USABLE),
        # Asking for another's name gives nobody its role.
        (Mark(NEIGHBOUR), True, False, RoleStanding.NOT_READY),
        (Mark(NEIGHBOUR), False, False, RoleStanding.FOREIGN),
        (Mark(NEIGHBOUR), False, True, RoleStanding.USABLE),
        (Mark(ROLE), False, False, RoleStanding.FOREIGN),
        (released(Mark(ROLE)), True, False, RoleStanding.NOT_READY),
        (None, True, False, RoleStanding.NOT_READY),
        (None, False, False, RoleStanding.FOREIGN),
        (None, False, True, RoleStanding.USABLE),
    ],
)
def test_role_is_named_by_its_own_namespace_or_when_it_is_listed(
    *, mark: Marked, declared: bool, listed: bool, expected: RoleStanding
) -> None:
    role = RoleState("app", superuser=False, mark=mark)
    claimants = (ROLE,) if declared else ()
    assert role_standing(role, declared_by=claimants, is_listed=listed) is expected


@pytest.mark.parametrize("listed", [True, False])
def test_role_that_may_become_a_superuser_is_named_by_nobody(*, listed: bool) -> None:
    role = RoleState("app", powerful=True, mark=None if listed else Mark(ROLE))
    standing = role_standing(role, declared_by=(ROLE,), is_listed=listed)
    assert standing is RoleStanding.POWERFUL


@pytest.mark.parametrize(
    ("declared", "listed", "expected"),
    [
        (True, False, RoleStanding.NOT_READY),
        (False, False, RoleStanding.FOREIGN),
        (False, True, RoleStanding.ABSENT),
    ],
)
def test_role_that_is_absent_is_waited_for(
    *, declared: bool, listed: bool, expected: RoleStanding
) -> None:
    role = RoleState("app", exists=False, mark=None)
    claimants = (ROLE,) if declared else ()
    assert role_standing(role, declared_by=claimants, is_listed=listed) is expected


def test_declared_creators_stand_alone() -> None:
    observed = Creators("owner", "app", frozenset({"writer"}))
    assert effective_creators({"migrator"}, observed, role="reader") == {"migrator"}
    assert effective_creators((), observed, role="reader") == frozenset()


def test_undeclared_creators_are_the_owners_and_those_who_may_create() -> None:
    observed = Creators("owner", "app", frozenset({"writer"}))
    everyone = {"owner", "app", "writer"}
    assert effective_creators(None, observed, role="reader") == everyone
    assert effective_creators(None, Creators(), role="reader") == frozenset()


def test_role_needs_nothing_on_what_it_will_create_itself() -> None:
    observed = Creators("owner", "app", frozenset({"writer"}))
    assert effective_creators(None, observed, role="writer") == {"owner", "app"}
    assert effective_creators({"writer"}, observed, role="writer") == frozenset()
