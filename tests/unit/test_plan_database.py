"""What is written for a Database."""

from dataclasses import replace

import pytest

from pg_operator.api.specs import DatabaseSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import desired_database, immutable_differences
from pg_operator.plan.diff import diff
from pg_operator.plan.operations import (
    AlterDatabase,
    CreateDatabase,
    CreateSchema,
    MarkDatabase,
    Operation,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
)
from pg_operator.plan.policies import released, sentinel
from pg_operator.plan.state import DatabaseState, Locale, Mark, Server
from tests.unit.plan_examples import DATABASE, LOGIN, database_spec, server

ABSENT = DatabaseState("orders", exists=False, mark=None)
OURS = DatabaseState(
    "orders",
    oid=1,
    owner=LOGIN,
    encoding="UTF8",
    allow_connections=True,
    connection_limit=-1,
    public_privileges=frozenset(),
    schemas=frozenset({"public"}),
    public_schema_open=False,
    mark=Mark(DATABASE),
)
UNFINISHED = replace(
    OURS,
    allow_connections=False,
    connection_limit=sentinel(DATABASE),
    public_privileges=frozenset({"CONNECT", "TEMPORARY"}),
    schemas=frozenset(),
    mark=None,
)
OPENED = (
    MarkDatabase("orders", Mark(DATABASE)),
    RevokePublicOnDatabase("orders", ("CONNECT", "TEMPORARY")),
    AlterDatabase("orders", allow_connections=True, connection_limit=-1),
)


def plan(
    observed: DatabaseState, spec: DatabaseSpec, *, on: Server | None = None
) -> Plan:
    desired = desired_database(
        spec, claimant=DATABASE, observed=observed, server=on or server()
    )
    return diff(desired, observed)


def operations(observed: DatabaseState, **fields: object) -> tuple[Operation, ...]:
    return plan(observed, database_spec(**fields)).operations


def test_absent_database_is_created_closed_then_marked_then_opened() -> None:
    created = CreateDatabase("orders", encoding=None, sentinel=sentinel(DATABASE))
    assert operations(ABSENT) == (created, *OPENED)


def test_new_database_opens_in_the_transaction_that_marks_and_closes_it_to_public() -> (
    None
):
    spec = database_spec(schema="app", timezone="UTC")
    creation, opening, inside = plan(ABSENT, spec).batches()
    assert not creation.transactional
    assert opening.transactional
    assert opening.database is None
    assert opening.locks == ("database:orders",)
    assert opening.operations[0] == OPENED[0]
    assert opening.operations[-1] == OPENED[-1]
    assert inside.database == "orders"
    assert inside.locks == ("catalog",)
    assert inside.operations == (CreateSchema("orders", "app"),)


def test_new_database_gets_the_encoding_and_limit_of_its_spec() -> None:
    first, *_, last = operations(ABSENT, encoding="LATIN1", connectionLimit=7)
    assert first == CreateDatabase("orders", "LATIN1", sentinel(DATABASE))
    assert last == AlterDatabase("orders", allow_connections=True, connection_limit=7)


def test_new_database_is_made_from_its_template_with_its_locale() -> None:
    first, *_ = operations(
        ABSENT,
        template="shop_template",
        localeProvider="icu",
        locale="de-DE",
        tablespace="fast",
    )
    assert first == CreateDatabase(
        "orders",
        None,
        sentinel(DATABASE),
        template="shop_template",
        locale=Locale("icu", "de-DE"),
        tablespace="fast",
    )


def test_unfinished_database_is_carried_on_where_it_stopped() -> None:
    assert operations(UNFINISHED) == OPENED


def test_unfinished_database_is_as_empty_as_a_new_one() -> None:
    assert operations(UNFINISHED, schemas=[{"name": "public"}, {"name": "app"}]) == (
        *OPENED,
        CreateSchema("orders", "app"),
    )


def test_database_as_declared_needs_nothing() -> None:
    observed = replace(OURS, settings={"timezone": "UTC"})
    assert operations(observed, timezone="UTC", schema="public") == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"connectionLimit": 5}, AlterDatabase("orders", connection_limit=5)),
        ({"timezone": "UTC"}, SetDatabaseParameter("orders", "timezone", "UTC")),
        ({"schema": "app"}, CreateSchema("orders", "app")),
    ],
)
def test_existing_database_gets_only_what_differs(
    fields: dict[str, object], expected: Operation
) -> None:
    assert operations(OURS, **fields) == (expected,)


def test_what_left_the_spec_stays_as_it_is() -> None:
    observed = replace(
        OURS,
        connection_limit=5,
        settings={"timezone": "UTC", "work_mem": "8MB"},
        schemas=frozenset({"public", "old"}),
    )
    assert operations(observed) == ()


@pytest.mark.parametrize("policy", [None, "Revoke"])
def test_public_loses_what_it_holds_on_a_database(policy: str | None) -> None:
    observed = replace(OURS, public_privileges=frozenset({"CONNECT"}))
    fields = {"publicPrivileges": policy} if policy else {}
    expected = RevokePublicOnDatabase("orders", ("CONNECT",))
    assert operations(observed, **fields) == (expected,)


@pytest.mark.parametrize("observed", [ABSENT, UNFINISHED])
def test_public_keeps_a_database_when_the_spec_says_so(
    observed: DatabaseState,
) -> None:
    plan_ = operations(observed, publicPrivileges="Keep")
    assert not any(isinstance(step, RevokePublicOnDatabase) for step in plan_)


def test_released_database_is_marked_managed_again() -> None:
    observed = replace(OURS, mark=released(Mark(DATABASE)))
    assert operations(observed) == (MarkDatabase("orders", Mark(DATABASE)),)


def test_comment_of_somebody_else_is_kept_inside_the_mark() -> None:
    observed = replace(UNFINISHED, comment="the shop's orders")
    mark = Mark(DATABASE, foreign_comment="the shop's orders")
    assert operations(observed)[0] == MarkDatabase("orders", mark)
    assert operations(replace(OURS, mark=mark)) == ()


def test_adopted_database_is_marked_so_and_keeps_what_public_holds() -> None:
    made_by_hand = replace(
        OURS,
        mark=None,
        comment="theirs",
        public_privileges=frozenset({"CONNECT", "TEMPORARY"}),
    )
    mark = Mark(DATABASE, adopted=True, foreign_comment="theirs")
    assert operations(made_by_hand) == (MarkDatabase("orders", mark),)
    adopted = replace(made_by_hand, mark=mark, comment=None)
    assert operations(adopted) == ()
    assert operations(adopted, publicPrivileges="Revoke") == (
        RevokePublicOnDatabase("orders", ("CONNECT", "TEMPORARY")),
    )


def test_database_that_somebody_closed_is_left_closed() -> None:
    closed = replace(OURS, allow_connections=False, schemas=frozenset())
    assert operations(closed, schema="app") == ()


@pytest.mark.parametrize(
    ("version", "superuser", "closes"),
    [
        (140023, True, True),
        (140023, False, False),  # public is the bootstrap superuser's there
        (150000, True, False),
        (180004, True, False),
    ],
)
def test_public_schema_is_closed_where_postgresql_leaves_it_open(
    *,
    version: int,
    superuser: bool,
    closes: bool,
) -> None:
    on = server(version=version, superuser=superuser)
    revoke = RevokePublicOnSchema("orders", "public")
    opened = replace(OURS, public_schema_open=True)
    assert (revoke in plan(ABSENT, database_spec(), on=on).operations) is closes
    assert (revoke in plan(opened, database_spec(), on=on).operations) is closes
    assert plan(OURS, database_spec(), on=on).operations == ()


def test_public_schema_stays_open_when_public_keeps_the_database() -> None:
    on = server(version=140023, superuser=True)
    kept = plan(ABSENT, database_spec(publicPrivileges="Keep"), on=on)
    assert RevokePublicOnSchema("orders", "public") not in kept.operations


def test_other_encoding_is_reported_with_the_one_that_it_has() -> None:
    (difference,) = immutable_differences(database_spec(encoding="LATIN1"), OURS)
    assert (difference.path, difference.reason) == ("spec.encoding", "Immutable")
    assert "UTF8" in difference.message
    assert operations(OURS, encoding="LATIN1") == ()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"localeProvider": "icu", "locale": "en_US.utf8"}, "spec.localeProvider"),
        ({"locale": "C"}, "spec.locale"),
        ({"tablespace": "fast"}, "spec.tablespace"),
        ({"locale": "en_US.UTF-8", "tablespace": "pg_default"}, None),
        ({"template": "template1"}, None),
    ],
)
def test_what_was_chosen_at_creation_is_reported_where_it_differs(
    fields: dict[str, object], path: str | None
) -> None:
    observed = replace(
        OURS, locale=Locale("libc", "en_US.utf8"), tablespace="pg_default"
    )
    found = immutable_differences(database_spec(**fields), observed)
    assert [difference.path for difference in found] == ([path] if path else [])
    assert operations(observed, **fields) == ()


@pytest.mark.parametrize(
    ("fields", "observed"),
    [({"encoding": "UTF8"}, OURS), ({}, OURS), ({"encoding": "LATIN1"}, ABSENT)],
)
def test_encoding_that_does_not_differ_is_not_reported(
    fields: dict[str, object], observed: DatabaseState
) -> None:
    assert immutable_differences(database_spec(**fields), observed) == ()
