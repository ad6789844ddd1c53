"""What is written for a DatabaseRole."""

from dataclasses import replace
from typing import Any

import pytest

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.secret import SecretText
from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grants, Securable
from pg_operator.plan.operations import (
    AlterRole,
    CreateRole,
    GrantRoleToSelf,
    MarkRole,
    Operation,
)
from pg_operator.plan.permissions import declared_scope
from pg_operator.plan.policies import released
from pg_operator.plan.privileges import (
    LONGEST_LIST,
    GrantPrivileges,
    RevokePrivileges,
)
from pg_operator.plan.scope import claim_everything, hold
from pg_operator.plan.state import UNSET, DatabaseState, Mark, Password, RoleState
from tests.unit.plan_examples import (
    PG18,
    ROLE,
    marked_role,
    on_column,
    on_database,
    on_future,
    on_schema,
    on_table,
    permission,
    role_spec,
    securables,
    server,
)

COLUMNS = ("id", "note")
NOTHING: Grants = frozenset()
ABSENT = RoleState("app", exists=False, mark=None)
OURS = marked_role(scope=NOTHING)
PASSWORD = Password("fingerprint", SecretText("correct horse"))
DECLARED: dict[str, Any] = {"password": {"name": "app-password"}}
PLAIN = role_spec()
WITH_PASSWORD = role_spec(**DECLARED)


def plan(
    observed: RoleState,
    spec: DatabaseRoleSpec = PLAIN,
    *,
    grants: Grants = NOTHING,
    scope: Grants | None = None,
    password: Password | None = None,
    superuser: bool = False,
) -> Plan:
    desired = desired_role(
        spec,
        claimant=ROLE,
        observed=observed,
        server=server(superuser=superuser),
        password=password,
        grants=grants,
        scope=grants if scope is None else scope,
    )
    return diff(desired, observed)


def operations(
    observed: RoleState,
    spec: DatabaseRoleSpec = PLAIN,
    *,
    grants: Grants = NOTHING,
    scope: Grants | None = None,
    password: Password | None = None,
    superuser: bool = False,
) -> tuple[Operation, ...]:
    return plan(
        observed,
        spec,
        grants=grants,
        scope=scope,
        password=password,
        superuser=superuser,
    ).operations


def grant(
    kind: ObjectKind, *words: str, objects: tuple[str, ...], schema: str = ""
) -> GrantPrivileges:
    return GrantPrivileges("app", securables(kind, "orders", objects, schema), words)


def revoke(
    kind: ObjectKind, *words: str, objects: tuple[str, ...], schema: str = ""
) -> RevokePrivileges:
    return RevokePrivileges("app", securables(kind, "orders", objects, schema), words)


# Creation and attributes


def test_new_role_is_created_and_marked_in_one_transaction() -> None:
    wanted = on_table("a", "SELECT")
    first, *_ = plan(ABSENT, grants=wanted).batches()
    assert first.transactional
    assert first.database is None
    assert first.locks == ("role:app",)
    assert first.operations == (
        CreateRole("app", login=False, connection_limit=None, password=None),
        GrantRoleToSelf("app"),
        MarkRole("app", Mark(ROLE, scope=wanted)),
    )


@pytest.mark.parametrize(
    ("fields", "login"),
    [
        ({}, False),
        (DECLARED, True),
        ({"login": True}, True),
        ({**DECLARED, "login": False}, False),
    ],
)
def test_new_role_logs_in_when_it_says_so_or_declares_a_password(
    *,
    fields: dict[str, Any],
    login: bool,
) -> None:
    password = PASSWORD if "password" in fields else None
    created = operations(ABSENT, role_spec(**fields), password=password)[0]
    assert isinstance(created, CreateRole)
    assert created.login is login
    assert created.password == password


def test_superuser_needs_no_membership_in_its_roles() -> None:
    assert GrantRoleToSelf("app") not in operations(ABSENT, superuser=True)


def test_lost_membership_is_granted_again() -> None:
    observed = replace(OURS, self_member=False)
    assert operations(observed) == (GrantRoleToSelf("app"),)
    assert operations(observed, superuser=True) == ()


def test_role_as_declared_needs_nothing() -> None:
    wanted = on_database("orders", "CONNECT") | on_table("a", "SELECT")
    observed = replace(
        marked_role(grants=wanted, scope=wanted),
        mark=Mark(ROLE, scope=wanted, password=PASSWORD.fingerprint),
    )
    spec = role_spec(**DECLARED, login=True, connectionLimit=-1)
    assert operations(observed, spec, password=PASSWORD, grants=wanted) == ()


@pytest.mark.parametrize(
    ("fields", "altered"),
    [
        ({"login": False}, AlterRole("app", login=False)),
        ({"connectionLimit": 3}, AlterRole("app", connection_limit=3)),
        (
            {"login": False, "connectionLimit": 3},
            AlterRole("app", login=False, connection_limit=3),
        ),
    ],
)
def test_existing_role_is_altered_only_where_it_differs(
    fields: dict[str, Any], altered: AlterRole
) -> None:
    assert operations(OURS, role_spec(**fields)) == (altered,)


@pytest.mark.parametrize("spec", [PLAIN, WITH_PASSWORD])
def test_login_that_is_not_declared_is_left_alone(spec: DatabaseRoleSpec) -> None:
    disabled_by_hand = replace(OURS, login=False)
    assert operations(disabled_by_hand, spec) == ()


def test_released_role_with_a_password_logs_in_again() -> None:
    mark = Mark(ROLE, password=PASSWORD.fingerprint)
    disabled = replace(OURS, login=False, mark=released(mark))
    assert operations(disabled, WITH_PASSWORD, password=PASSWORD) == (
        AlterRole("app", login=True, password=PASSWORD),
        MarkRole("app", mark),
    )


def test_role_logs_in_from_its_first_password_on() -> None:
    made_without = replace(OURS, login=False)
    assert operations(made_without, WITH_PASSWORD, password=PASSWORD) == (
        AlterRole("app", login=True, password=PASSWORD),
        MarkRole("app", Mark(ROLE, password=PASSWORD.fingerprint)),
    )


def test_role_disabled_by_hand_stays_so_when_its_password_changes() -> None:
    mark = Mark(ROLE, password="old")
    disabled_by_hand = replace(OURS, login=False, mark=mark)
    altered, *_ = operations(disabled_by_hand, WITH_PASSWORD, password=PASSWORD)
    assert altered == AlterRole("app", password=PASSWORD)


def test_changed_password_and_its_fingerprint_are_one_transaction() -> None:
    observed = replace(OURS, mark=Mark(ROLE, password="old"))
    (batch,) = plan(observed, WITH_PASSWORD, password=PASSWORD).batches()
    assert batch.transactional
    assert batch.operations == (
        AlterRole("app", password=PASSWORD),
        MarkRole("app", Mark(ROLE, password=PASSWORD.fingerprint)),
    )


def test_changed_password_is_recorded_before_any_grant() -> None:
    observed = replace(OURS, mark=Mark(ROLE, password="old"))
    wanted = on_table("a", "SELECT")
    first, _ = plan(observed, WITH_PASSWORD, password=PASSWORD, grants=wanted).batches()
    mark = Mark(ROLE, scope=wanted, password=PASSWORD.fingerprint)
    assert first.operations == (
        AlterRole("app", password=PASSWORD),
        MarkRole("app", mark),
    )


@pytest.mark.parametrize("spec", [PLAIN, WITH_PASSWORD])
def test_password_that_is_removed_or_unreadable_stays(spec: DatabaseRoleSpec) -> None:
    observed = replace(OURS, mark=Mark(ROLE, password="known"))
    assert operations(observed, spec) == ()


# Grants


def test_grants_run_schema_first_in_their_database() -> None:
    wanted = on_schema("app", "USAGE") | on_table("a", "SELECT")
    _, inside = plan(ABSENT, grants=wanted).batches()
    assert inside.database == "orders"
    assert inside.locks == ("catalog",)
    assert inside.operations == (
        grant("schema", "USAGE", objects=("app",)),
        grant("table", "SELECT", objects=("a",), schema="app"),
    )


def test_revokes_run_before_grants_and_tables_before_their_schema() -> None:
    old = on_schema("app", "USAGE") | on_table("a", "SELECT")
    new = on_schema("app", "CREATE") | on_table("a", "INSERT")
    inside = plan(marked_role(grants=old, scope=old), grants=new).batches()[1]
    assert inside.operations == (
        revoke("table", "SELECT", objects=("a",), schema="app"),
        revoke("schema", "USAGE", objects=("app",)),
        grant("schema", "CREATE", objects=("app",)),
        grant("table", "INSERT", objects=("a",), schema="app"),
    )


def test_database_privileges_run_in_the_maintenance_database_under_its_lock() -> None:
    wanted = on_database("orders", "CONNECT", "TEMPORARY")
    (batch,) = plan(ABSENT, grants=wanted).batches()
    assert batch.database is None
    assert batch.locks == ("database:orders", "role:app")
    assert grant("database", "CONNECT", "TEMPORARY", objects=("orders",)) in (
        batch.operations
    )


def test_each_database_is_entered_once() -> None:
    old = on_table("a", "SELECT") | on_table("a", "SELECT", database="stock")
    new = on_table("a", "INSERT") | on_table("a", "INSERT", database="stock")
    batches = plan(marked_role(grants=old, scope=old), grants=new).batches()
    assert [batch.database for batch in batches] == [None, "orders", "stock", None]


def test_tables_with_the_same_words_share_a_statement() -> None:
    wanted = (
        on_table("b", "SELECT", "INSERT")
        | on_table("a", "INSERT", "SELECT")
        | on_table("c", "SELECT")
    )
    held = on_table("c", "INSERT")
    (inside,) = plan(marked_role(grants=held, scope=wanted), grants=wanted).batches()
    assert inside.operations == (
        grant("table", "INSERT", "SELECT", objects=("a", "b"), schema="app"),
        grant("table", "SELECT", objects=("c",), schema="app"),
    )


def test_long_table_lists_are_cut() -> None:
    names = [f"t{number:05}" for number in range(LONGEST_LIST + 1)]
    wanted = frozenset().union(*(on_table(name, "SELECT") for name in names))
    (inside,) = plan(marked_role(scope=wanted), grants=wanted).batches()
    assert inside.operations == (
        grant("table", "SELECT", objects=tuple(names[:-1]), schema="app"),
        grant("table", "SELECT", objects=tuple(names[-1:]), schema="app"),
    )


def test_grants_that_were_never_ours_stay() -> None:
    foreign = on_table("a", "DELETE") | on_database("stock", "CONNECT")
    ours = on_table("a", "SELECT")
    observed = marked_role(grants=foreign | ours, scope=ours)
    assert operations(observed, grants=ours) == ()


def test_what_left_the_spec_is_revoked_where_it_is_held() -> None:
    old = on_table("a", "SELECT") | on_table("b", "SELECT")
    observed = marked_role(grants=on_table("a", "SELECT"), scope=old)
    only, _ = operations(observed)
    assert only == revoke("table", "SELECT", objects=("a",), schema="app")


def test_columns_of_a_table_share_a_statement() -> None:
    wanted = (
        on_table("a", "INSERT")
        | on_column("a", "id", "SELECT", "UPDATE")
        | on_column("a", "note", "SELECT", "UPDATE")
        | on_column("b", "id", "SELECT", "UPDATE")
    )
    (inside,) = plan(marked_role(scope=wanted), grants=wanted).batches()
    ids = tuple(Securable("column", "orders", "app", "a", name) for name in COLUMNS)
    assert inside.operations == (
        GrantPrivileges("app", ids, ("SELECT", "UPDATE")),
        GrantPrivileges(
            "app",
            (Securable("column", "orders", "app", "b", "id"),),
            ("SELECT", "UPDATE"),
        ),
        grant("table", "INSERT", objects=("a",), schema="app"),
    )


def test_columns_are_granted_again_that_a_revoke_on_their_table_wipes() -> None:
    """The columns of our own, and those that somebody granted by hand."""
    ours, theirs = on_column("a", "id", "SELECT"), on_column("a", "note", "SELECT")
    old = on_table("a", "SELECT") | ours
    observed = marked_role(grants=old | theirs, scope=old)
    inside = plan(observed, grants=ours).batches()[0]
    both = tuple(Securable("column", "orders", "app", "a", name) for name in COLUMNS)
    assert inside.operations == (
        revoke("table", "SELECT", objects=("a",), schema="app"),
        GrantPrivileges("app", both, ("SELECT",)),
    )


def test_column_that_goes_with_its_table_is_not_revoked_itself() -> None:
    old = on_table("a", "SELECT") | on_column("a", "id", "SELECT", "UPDATE")
    inside = plan(marked_role(grants=old, scope=old)).batches()[0]
    assert inside.operations == (
        RevokePrivileges(
            "app", (Securable("column", "orders", "app", "a", "id"),), ("UPDATE",)
        ),
        revoke("table", "SELECT", objects=("a",), schema="app"),
    )


def test_option_is_granted_with_its_word_and_taken_away_alone() -> None:
    word = on_table("a", "SELECT")
    option = frozenset(one._replace(grantable=True) for one in word)
    (on,) = (one.on for one in word)
    wanted = word | option | on_table("a", "INSERT")
    (inside,) = plan(marked_role(scope=wanted), grants=wanted).batches()
    assert inside.operations == (
        grant("table", "INSERT", objects=("a",), schema="app"),
        GrantPrivileges("app", (on,), ("SELECT",), grantable=True),
    )
    less = plan(marked_role(grants=wanted, scope=wanted), grants=word)
    assert less.operations[0] == RevokePrivileges("app", (on,), ("INSERT",))
    assert less.operations[1] == RevokePrivileges(
        "app", (on,), ("SELECT",), grantable=True
    )
    # Gone with the word, whoever gave it.
    nothing = plan(marked_role(grants=word | option, scope=word))
    assert nothing.operations[0] == revoke(
        "table", "SELECT", objects=("a",), schema="app"
    )


def test_table_that_a_wildcard_leaves_out_is_revoked() -> None:
    (grant_,) = on_table("*", "SELECT")
    scope = frozenset({grant_._replace(on=grant_.on._replace(without=("b",)))})
    held = on_table("a", "SELECT") | on_table("b", "SELECT")
    inside = plan(
        marked_role(grants=held, scope=on_table("*", "SELECT")),
        grants=on_table("a", "SELECT"),
        scope=scope,
    ).batches()[1]
    assert inside.operations == (
        revoke("table", "SELECT", objects=("b",), schema="app"),
    )


def test_role_that_may_hold_nothing_else_loses_the_rest() -> None:
    ours = on_table("a", "SELECT")
    foreign = on_table("a", "DELETE") | on_database("stock", "CONNECT")
    observed = claim_everything(marked_role(grants=ours | foreign, scope=ours), ours)
    taken = [one for one in operations(observed, grants=ours) if "revoke" in str(one)]
    assert taken == [
        RevokePrivileges("app", securables("database", "", ("stock",)), ("CONNECT",)),
        revoke("table", "DELETE", objects=("a",), schema="app"),
    ]
    exact = marked_role(grants=ours, scope=ours)
    assert claim_everything(exact, ours) == exact


def test_future_objects_are_moved_from_one_creator_to_the_next() -> None:
    old, new = (on_future("table", name, "SELECT") for name in ("old", "new"))
    wild = on_table("*", "SELECT")
    observed = marked_role(grants=old, scope=old | wild)
    inside = plan(observed, grants=new, scope=new | wild).batches()[1]
    (taken,), (given,) = old, new
    assert inside.operations == (
        RevokePrivileges("app", (taken.on,), ("SELECT",)),
        GrantPrivileges("app", (given.on,), ("SELECT",)),
    )
    assert inside.locks == ("catalog",)


def test_creators_share_a_statement_that_existing_tables_do_not() -> None:
    future = on_future("table", "a", "SELECT") | on_future("table", "b", "SELECT")
    wanted = future | on_table("a", "SELECT")
    (inside,) = plan(marked_role(scope=wanted), grants=wanted).batches()
    creators = tuple(sorted(grant.on for grant in future))
    assert set(inside.operations) == {
        grant("table", "SELECT", objects=("a",), schema="app"),
        GrantPrivileges("app", creators, ("SELECT",)),
    }


def test_wildcard_that_left_the_spec_is_revoked_on_every_table() -> None:
    held = on_table("a", "SELECT", "DELETE") | on_table("b", "SELECT")
    other = on_table("a", "SELECT", schema="other")
    observed = marked_role(grants=held | other, scope=on_table("*", "SELECT"))
    inside = plan(observed).batches()[0]
    assert inside.operations == (
        revoke("table", "SELECT", objects=("a", "b"), schema="app"),
    )


def test_named_table_outlives_the_wildcard_beside_it() -> None:
    held = on_table("a", "SELECT") | on_table("b", "SELECT")
    kept = on_table("a", "SELECT")
    observed = marked_role(grants=held, scope=on_table("*", "SELECT") | kept)
    inside = plan(observed, grants=kept).batches()[0]
    assert inside.operations == (
        revoke("table", "SELECT", objects=("b",), schema="app"),
    )


def test_held_part_is_neither_granted_nor_revoked() -> None:
    old = on_table("*", "SELECT") | on_table("b", "DELETE")
    held = on_table("a", "SELECT") | on_table("b", "DELETE")
    observed = marked_role(grants=held, scope=old)
    assert operations(observed, scope=hold(old, database="orders")) == ()


def test_lost_grant_is_repaired_without_touching_the_mark() -> None:
    wanted = on_table("a", "SELECT")
    observed = marked_role(scope=wanted)
    repaired = grant("table", "SELECT", objects=("a",), schema="app")
    assert operations(observed, grants=wanted) == (repaired,)


def test_new_word_of_all_is_granted_after_a_server_upgrade() -> None:
    everything = permission(
        schemas=[{"name": "app", "tables": [{"name": "*", "privileges": ["ALL"]}]}]
    )
    before = declared_scope([everything], server_version=160000)
    after = declared_scope([everything], server_version=PG18)
    held = on_table("a", *(each.privilege for each in before))
    wanted = on_table("a", *(each.privilege for each in after))
    plan_ = operations(
        marked_role(grants=held, scope=before), grants=wanted, scope=after
    )
    assert plan_ == (
        MarkRole("app", Mark(ROLE, scope=after)),
        grant("table", "MAINTAIN", objects=("a",), schema="app"),
    )


# The recorded scope


def test_scope_covers_old_and_new_while_databases_are_being_changed() -> None:
    old, new = on_table("a", "SELECT"), on_table("b", "SELECT")
    first, _, last = plan(marked_role(grants=old, scope=old), grants=new).batches()
    assert first.operations == (MarkRole("app", Mark(ROLE, scope=old | new)),)
    mark, union = Mark(ROLE, scope=new), Mark(ROLE, scope=old | new)
    assert last.operations == (MarkRole("app", mark, fallback=union),)


def test_growing_scope_is_marked_once_before_the_grants() -> None:
    old, new = on_table("a", "SELECT"), on_table("b", "SELECT")
    batches = plan(marked_role(grants=old, scope=old), grants=old | new).batches()
    assert [batch.database for batch in batches] == [None, "orders"]


def test_shrinking_scope_is_marked_once_after_the_revokes() -> None:
    old = on_table("a", "SELECT")
    batches = plan(marked_role(grants=old, scope=old)).batches()
    assert [batch.database for batch in batches] == ["orders", None]


def test_change_in_shared_catalogs_alone_is_marked_once_in_its_transaction() -> None:
    old, new = on_database("orders", "CONNECT"), on_database("stock", "CONNECT")
    (batch,) = plan(marked_role(grants=old, scope=old), grants=new).batches()
    assert batch.operations[-1] == MarkRole(
        "app", Mark(ROLE, scope=new), fallback=Mark(ROLE, scope=old | new)
    )
    assert sum(isinstance(step, MarkRole) for step in batch.operations) == 1


def test_scope_without_anything_to_revoke_needs_no_fallback() -> None:
    observed = marked_role(scope=on_database("gone", "CONNECT"))
    assert operations(observed) == (MarkRole("app", Mark(ROLE)),)


def test_states_of_two_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match="one kind"):
        diff(OURS, DatabaseState("orders"))  # type: ignore[call-overload]


def test_desired_state_without_a_mark_is_refused() -> None:
    with pytest.raises(TypeError, match="marked"):
        diff(replace(OURS, mark=None), OURS)


@pytest.mark.parametrize(
    ("seen", "is_set_again"),
    [(UNSET, False), ("stored", False), ("theirs", True), (None, True)],
)
def test_password_that_somebody_else_set_is_set_again_where_it_is_seen(
    seen: Any, *, is_set_again: bool
) -> None:
    mark = Mark(ROLE, password="fingerprint", verifier="stored")
    observed = replace(OURS, mark=mark, verifier=seen)
    operations = plan(observed, WITH_PASSWORD, password=PASSWORD).operations
    passwords = [one.password for one in operations if isinstance(one, AlterRole)]
    marks = [one.mark for one in operations if isinstance(one, MarkRole)]
    if not is_set_again:
        assert operations == ()
        return
    assert passwords == [PASSWORD]
    assert marks == [replace(mark, verifier=None)]


def test_password_that_cannot_be_read_now_is_not_set_again() -> None:
    mark = Mark(ROLE, password="fingerprint", verifier="stored")
    observed = replace(OURS, mark=mark, verifier="theirs")
    assert plan(observed, WITH_PASSWORD) == Plan()
