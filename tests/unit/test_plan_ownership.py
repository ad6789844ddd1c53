"""Whose a database or role is: the one table behind every write and drop."""

from dataclasses import replace
from itertools import product

import pytest

from pg_operator.plan.policies import (
    Ownership,
    is_same,
    ownership,
    released,
    sentinel,
)
from pg_operator.plan.state import (
    UNSET,
    Claimant,
    DatabaseState,
    Mark,
    Marked,
    RoleState,
    Unset,
    UnverifiedMark,
)
from tests.unit.plan_examples import DATABASE, LOGIN, ROLE

NEIGHBOUR = replace(DATABASE, namespace="crm", namespace_uid="crm-uid")
SIBLING = replace(DATABASE, name="orders-2")
RECREATED_NAMESPACE = replace(DATABASE, namespace_uid="shop-uid-2")
OTHER_OPERATOR = replace(DATABASE, owner_id="other-owner-id")
FOREIGN = (NEIGHBOUR, SIBLING, RECREATED_NAMESPACE, OTHER_OPERATOR)


def judge(
    state: DatabaseState | RoleState,
    *,
    living: bool = True,
    protected: frozenset[str] = frozenset(),
) -> Ownership:
    return ownership(
        state,
        claimant=DATABASE if isinstance(state, DatabaseState) else ROLE,
        login=LOGIN,
        is_living=lambda _: living,
        protected=protected,
    )


def database(mark: Marked | Unset, name: str = "orders") -> DatabaseState:
    return DatabaseState(
        name, owner=LOGIN, allow_connections=True, connection_limit=-1, mark=mark
    )


@pytest.mark.parametrize(
    ("mark", "living", "expected"),
    [
        (Mark(DATABASE), True, Ownership.OWNED),
        # The cache may not have the object yet: the mark alone says whose it is.
        (Mark(DATABASE), False, Ownership.OWNED),
        (released(Mark(DATABASE)), True, Ownership.RELEASED),
        (released(Mark(DATABASE)), False, Ownership.RELEASED),
        (None, True, Ownership.UNMANAGED),
        (UnverifiedMark(), True, Ownership.UNVERIFIED),
        (UNSET, True, Ownership.UNVERIFIED),
        *((Mark(other), True, Ownership.CONFLICT) for other in FOREIGN),
        *((Mark(other), False, Ownership.ABANDONED) for other in FOREIGN),
        *((released(Mark(other)), True, Ownership.CONFLICT) for other in FOREIGN),
        *((released(Mark(other)), False, Ownership.ABANDONED) for other in FOREIGN),
    ],
)
def test_mark_says_whose_a_database_is(
    *, mark: Marked | Unset, living: bool, expected: Ownership
) -> None:
    assert judge(database(mark), living=living) is expected


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (Mark(ROLE), Ownership.OWNED),
        (released(Mark(ROLE)), Ownership.RELEASED),
        (Mark(replace(ROLE, name="other")), Ownership.CONFLICT),
        (Mark(DATABASE), Ownership.CONFLICT),
        (None, Ownership.UNMANAGED),
        (UnverifiedMark(), Ownership.UNVERIFIED),
    ],
)
def test_mark_says_whose_a_role_is(mark: Marked, expected: Ownership) -> None:
    assert judge(RoleState("app", superuser=False, mark=mark)) is expected


def test_absent_name_is_anybodys() -> None:
    assert judge(DatabaseState("orders", exists=False)) is Ownership.ABSENT
    assert judge(RoleState("app", exists=False)) is Ownership.ABSENT


@pytest.mark.parametrize(
    ("owner", "open_", "limit", "expected"),
    [
        (LOGIN, False, sentinel(DATABASE), Ownership.UNFINISHED),
        ("somebody", False, sentinel(DATABASE), Ownership.UNMANAGED),
        (LOGIN, True, sentinel(DATABASE), Ownership.UNMANAGED),
        (LOGIN, False, sentinel(SIBLING), Ownership.UNMANAGED),
        (LOGIN, False, -1, Ownership.UNMANAGED),
    ],
)
def test_unmarked_database_is_ours_only_with_all_three_signs(
    *, owner: str, open_: bool, limit: int, expected: Ownership
) -> None:
    state = DatabaseState(
        "orders",
        owner=owner,
        allow_connections=open_,
        connection_limit=limit,
        mark=None,
    )
    assert judge(state) is expected


@pytest.mark.parametrize("mark", [None, Mark(ROLE), released(Mark(ROLE))])
@pytest.mark.parametrize(
    "role",
    [
        RoleState("app", superuser=True),
        RoleState(LOGIN, superuser=False),
        RoleState("postgres", superuser=False),
        RoleState("pg_monitor", superuser=False),
        RoleState("pg_monitor", exists=False),
    ],
)
def test_superusers_reserved_roles_and_our_login_are_protected(
    role: RoleState, mark: Marked
) -> None:
    assert judge(replace(role, mark=mark)) is Ownership.PROTECTED


@pytest.mark.parametrize("name", ["postgres", "template1", "rdsadmin"])
def test_reserved_databases_are_protected(name: str) -> None:
    assert judge(database(Mark(DATABASE), name)) is Ownership.PROTECTED


def test_names_of_the_dsn_are_protected_even_when_absent() -> None:
    protected = frozenset({"orders"})
    for state in (database(Mark(DATABASE)), DatabaseState("orders", exists=False)):
        assert judge(state, protected=protected) is Ownership.PROTECTED


def test_nothing_is_written_that_is_not_absent_marked_or_begun_by_the_object() -> None:
    marks = (
        UNSET,
        None,
        UnverifiedMark(),
        *(Mark(other) for other in (DATABASE, *FOREIGN)),
        *(released(Mark(other)) for other in (DATABASE, *FOREIGN)),
    )
    signs = product(
        marks, (True, False), (LOGIN, "else"), (True, False), (-1, sentinel(DATABASE))
    )
    for mark, living, owner, open_, limit in signs:
        state = DatabaseState(
            "orders",
            owner=owner,
            allow_connections=open_,
            connection_limit=limit,
            mark=mark,
        )
        verdict = judge(state, living=living)
        marked = isinstance(mark, Mark) and mark.claimant == DATABASE
        begun = mark is None and owner == LOGIN and not open_ and limit > 0
        assert verdict.may_write is (marked or begun)


@pytest.mark.parametrize("verdict", Ownership)
def test_deletion_touches_only_what_is_owned_or_unfinished(verdict: Ownership) -> None:
    touched = {Ownership.OWNED, Ownership.UNFINISHED}
    assert verdict.may_delete is (verdict in touched)


def test_sentinel_is_a_valid_limit_that_tells_objects_apart() -> None:
    numbers = [
        sentinel(replace(DATABASE, name=f"database-{number}")) for number in range(500)
    ]
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2**31 for number in numbers)


def test_sentinel_does_not_change_between_releases() -> None:
    # Databases that an older release left unfinished are found by it.
    claimant = Claimant("owner", "Database", "ns", "uid", "name")
    assert sentinel(claimant) == 1177409929


def test_identity_is_namespace_uid_kind_and_name() -> None:
    assert is_same(DATABASE, replace(DATABASE, namespace="renamed"))
    assert not any(is_same(DATABASE, other) for other in FOREIGN)
    assert not is_same(ROLE, replace(DATABASE, name=ROLE.name))


def test_released_mark_keeps_the_scope_and_forgets_the_password() -> None:
    mark = Mark(ROLE, password="fingerprint", foreign_comment="theirs")
    assert released(mark) == Mark(ROLE, state="released", foreign_comment="theirs")
