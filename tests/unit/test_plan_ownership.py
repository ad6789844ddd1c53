"""Whose a database or role is: the one table behind every write and drop."""

from dataclasses import replace
from itertools import product

import pytest

from pg_operator.api.specs import Adoption, Kind
from pg_operator.plan.policies import (
    Consent,
    Ownership,
    consent,
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
GONE = (NEIGHBOUR, SIBLING, RECREATED_NAMESPACE)
FOREIGN = (*GONE, OTHER_OPERATOR)


def judge(
    state: DatabaseState | RoleState,
    *,
    living: bool = True,
    protected: frozenset[str] = frozenset(),
    consent: Consent = Consent.NONE,
    claimant: Claimant | None = None,
) -> Ownership:
    own = DATABASE if isinstance(state, DatabaseState) else ROLE
    return ownership(
        state,
        claimant=claimant or own,
        login=LOGIN,
        is_living=lambda _: living,
        protected=protected,
        consent=consent,
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
        *((Mark(other), False, Ownership.ABANDONED) for other in GONE),
        (Mark(OTHER_OPERATOR), False, Ownership.CONFLICT),
        *((released(Mark(other)), True, Ownership.CONFLICT) for other in FOREIGN),
        *((released(Mark(other)), False, Ownership.ABANDONED) for other in GONE),
        (released(Mark(OTHER_OPERATOR)), False, Ownership.CONFLICT),
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


# The operator had another id before, on this server or in another Kubernetes cluster.
FORMER = "former-owner-id"


@pytest.mark.parametrize(
    ("changes", "living", "expected"),
    [
        ({}, True, Ownership.OWNED),
        ({"owner_id": FORMER}, True, Ownership.OWNED),
        ({"owner_id": FORMER}, False, Ownership.OWNED),
        ({"owner_id": FORMER, "name": "orders-2"}, True, Ownership.CONFLICT),
        ({"owner_id": FORMER, "name": "orders-2"}, False, Ownership.ABANDONED),
        ({"owner_id": FORMER, "namespace_uid": "uid-2"}, True, Ownership.CONFLICT),
        ({"owner_id": FORMER, "namespace_uid": "uid-2"}, False, Ownership.ABANDONED),
        ({"owner_id": "other-owner-id"}, True, Ownership.CONFLICT),
        ({"owner_id": "other-owner-id"}, False, Ownership.CONFLICT),
        ({"owner_id": "other-owner-id", "name": "x"}, False, Ownership.CONFLICT),
    ],
)
def test_marks_of_a_former_id_count_as_this_operators_and_no_others(
    *, changes: dict[str, str], living: bool, expected: Ownership
) -> None:
    asking = replace(DATABASE, former_ids=frozenset({FORMER}))
    mark = Mark(replace(DATABASE, **changes))  # type: ignore[arg-type]
    assert judge(database(mark), living=living, claimant=asking) is expected
    kept = judge(database(released(mark)), living=living, claimant=asking)
    is_own = expected is Ownership.OWNED
    assert kept is (Ownership.RELEASED if is_own else expected)


def test_former_ids_are_not_recorded_and_tell_no_claimants_apart() -> None:
    asking = replace(DATABASE, former_ids=frozenset({FORMER}))
    assert asking == DATABASE
    former = replace(DATABASE, owner_id=FORMER)
    assert former != asking
    assert is_same(former, asking)
    assert is_same(asking, former)
    assert not is_same(former, DATABASE)


def test_database_begun_under_a_former_id_is_finished() -> None:
    former = replace(DATABASE, owner_id=FORMER)
    state = DatabaseState(
        "orders",
        owner=LOGIN,
        allow_connections=False,
        connection_limit=sentinel(former),
        mark=None,
    )
    assert judge(state) is Ownership.UNMANAGED
    asking = replace(DATABASE, former_ids=frozenset({FORMER}))
    assert judge(state, claimant=asking) is Ownership.UNFINISHED


LEFT_HERE = replace(DATABASE, name="orders-2")
ABANDONED_MARKS = (Mark(NEIGHBOUR), released(Mark(NEIGHBOUR)))
# The re-created namespace has the name of the old one, and so what it left.
LEFT_IN_NAMESPACE = (Mark(LEFT_HERE), released(Mark(RECREATED_NAMESPACE)))


@pytest.mark.parametrize(
    ("mark", "agreed", "adoptable"),
    [
        *((mark, Consent.NONE, False) for mark in (None, *ABANDONED_MARKS)),
        *((mark, Consent.NONE, False) for mark in LEFT_IN_NAMESPACE),
        *((mark, Consent.RELEASED, True) for mark in LEFT_IN_NAMESPACE),
        (Mark(NEIGHBOUR), Consent.RELEASED, False),
        (released(Mark(NEIGHBOUR)), Consent.RELEASED, False),
        (None, Consent.RELEASED, False),
        (UnverifiedMark(), Consent.RELEASED, False),
        *((mark, Consent.LISTED, True) for mark in (None, *ABANDONED_MARKS)),
        *((mark, Consent.LISTED, True) for mark in LEFT_IN_NAMESPACE),
        (UnverifiedMark(), Consent.LISTED, True),
    ],
)
def test_what_is_nobodys_is_taken_over_by_consent_only(
    *, mark: Marked, agreed: Consent, adoptable: bool
) -> None:
    verdict = judge(database(mark), living=False, consent=agreed)
    assert (verdict is Ownership.ADOPTABLE) is adoptable


@pytest.mark.parametrize("agreed", Consent)
def test_no_consent_takes_from_the_living_or_touches_what_is_protected(
    agreed: Consent,
) -> None:
    for mark in (*ABANDONED_MARKS, *LEFT_IN_NAMESPACE):
        assert judge(database(mark), consent=agreed) is Ownership.CONFLICT
    foreign = judge(database(Mark(OTHER_OPERATOR)), living=False, consent=agreed)
    assert foreign is Ownership.CONFLICT
    for role in (RoleState("app", superuser=True, mark=None), RoleState(LOGIN)):
        assert judge(role, living=False, consent=agreed) is Ownership.PROTECTED
    assert judge(database(None, "postgres"), consent=agreed) is Ownership.PROTECTED
    assert judge(database(Mark(DATABASE)), consent=agreed) is Ownership.OWNED
    absent = DatabaseState("orders", exists=False)
    assert judge(absent, consent=agreed) is Ownership.ABSENT


@pytest.mark.parametrize(
    ("policy", "adopt", "expected"),
    [
        ("Never", True, Consent.NONE),
        ("Released", True, Consent.RELEASED),
        ("Released", False, Consent.NONE),
        ("Listed", True, Consent.LISTED),
        ("Listed", False, Consent.NONE),
    ],
)
def test_consent_is_of_both_sides(
    *, policy: str, adopt: bool, expected: Consent
) -> None:
    listed = {"databases": [{"name": "orders", "namespace": "shop"}]}
    adoption = Adoption.parse(
        {"policy": policy, **(listed if policy == "Listed" else {})}
    )

    def agreed(kind: Kind, namespace: str, name: str) -> Consent:
        return consent(adoption, kind=kind, namespace=namespace, name=name, adopt=adopt)

    assert agreed("Database", "shop", "orders") is expected
    if policy == "Listed":
        assert agreed("Database", "crm", "orders") is Consent.NONE
        assert agreed("Database", "shop", "stock") is Consent.NONE
        assert agreed("DatabaseRole", "shop", "orders") is Consent.NONE


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
    # What is only to be taken over is not yet the object's.
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
