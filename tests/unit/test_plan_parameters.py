"""Settings of a database: which may be set, and what is set and reset."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from pg_operator.plan.desired import desired_database, without_inside
from pg_operator.plan.diff import diff
from pg_operator.plan.operations import (
    AlterDatabase,
    CreateSchema,
    MarkDatabase,
    Operation,
    ResetDatabaseParameter,
    SetDatabaseParameter,
)
from pg_operator.plan.parameters import judge_parameters, normalize
from pg_operator.plan.policies import released
from pg_operator.plan.state import DatabaseState, Mark
from tests.unit.plan_examples import DATABASE, database_spec, server
from tests.unit.test_plan_database import ABSENT, OURS, UNFINISHED

CONTEXTS = {"work_mem": "user", "session_replication_role": "superuser"}


def operations(
    observed: DatabaseState,
    parameters: Mapping[str, str],
    *,
    held: Collection[str] = (),
    **fields: object,
) -> tuple[Operation, ...]:
    desired = desired_database(
        database_spec(**fields),
        claimant=DATABASE,
        observed=observed,
        server=server(),
        parameters=parameters,
        held={"parameters": held},
    )
    return diff(desired, observed).operations


def marked(*parameters: str, **settings: str) -> DatabaseState:
    mark = Mark(DATABASE, parameters=frozenset(parameters))
    return replace(OURS, mark=mark, settings=settings)


def test_only_what_every_user_may_set_is_set_unless_it_is_allowed() -> None:
    declared = {"work_mem": "8MB", "session_replication_role": "replica", "role": "x"}
    judged = judge_parameters(declared, contexts=CONTEXTS, allowed=())
    assert judged.usable == {"work_mem": "8MB"}
    assert [(part.path, part.reason) for part in judged.pending] == [
        ("spec.parameters[session_replication_role]", "NotAllowed"),
        ("spec.parameters[role]", "NotAllowed"),
    ]
    allowed = ("session_replication_role", "role")
    judged = judge_parameters(declared, contexts=CONTEXTS, allowed=allowed)
    assert (judged.usable, judged.pending) == (declared, ())


def test_settings_are_set_and_recorded_with_the_mark() -> None:
    assert operations(OURS, {"work_mem": "8MB"}) == (
        MarkDatabase("orders", Mark(DATABASE, parameters=frozenset({"work_mem"}))),
        SetDatabaseParameter("orders", "work_mem", "8MB"),
    )
    assert operations(marked("work_mem", work_mem="8MB"), {"work_mem": "8MB"}) == ()


def test_setting_that_left_the_spec_is_reset_only_if_it_was_ours() -> None:
    observed = marked("work_mem", work_mem="8MB", jit="off")
    assert operations(observed, {}) == (
        MarkDatabase("orders", Mark(DATABASE)),
        ResetDatabaseParameter("orders", "work_mem"),
    )


def test_setting_that_somebody_reset_is_only_forgotten() -> None:
    assert operations(marked("work_mem"), {}) == (
        MarkDatabase("orders", Mark(DATABASE)),
    )


def test_setting_that_cannot_be_read_in_the_spec_stays_as_it_is() -> None:
    observed = marked("work_mem", work_mem="8MB")
    assert operations(observed, {}, held=["work_mem", "jit"]) == ()


def test_time_zone_of_its_own_field_takes_over_and_is_never_reset() -> None:
    observed = marked("timezone", timezone="UTC")
    assert operations(observed, {}, timezone="UTC") == (
        MarkDatabase("orders", Mark(DATABASE)),
    )
    observed = replace(OURS, settings={"timezone": "UTC"})
    assert operations(observed, {}) == ()


def test_retained_database_remembers_what_was_set() -> None:
    observed = marked("work_mem", work_mem="8MB")
    assert isinstance(observed.mark, Mark)
    kept = replace(observed, mark=released(observed.mark))
    assert ResetDatabaseParameter("orders", "work_mem") in operations(kept, {})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("search_path", 'app,"$user" , Public', 'app, "$user", public'),
        ("search_path", "", '""'),
        ("search_path", '"a""b"', '"a""b"'),
        ("search_path", 'broken"', '"broken"""'),
        ("temp_tablespaces", "A", "a"),
        ("datestyle", "ISO,  DMY", "ISO,  DMY"),
    ],
)
def test_values_compare_as_postgresql_stores_them(
    name: str, value: str, expected: str
) -> None:
    assert normalize(name, value) == expected
    assert normalize(name, expected) == expected


@pytest.mark.parametrize("part", [" ", " ,", '""', '"" ', ' "'])
def test_value_that_matches_nowhere_is_given_up_at_once(part: str) -> None:
    # Tried in every way that its spaces can be shared out, it would take for ever.
    value = f'{part * 20_000}"x'
    assert normalize("search_path", value)


@pytest.mark.parametrize("limit", [0, 1])
def test_limit_that_would_shut_us_out_comes_after_the_schemas(limit: int) -> None:
    last = (
        CreateSchema("orders", "app"),
        AlterDatabase("orders", connection_limit=limit),
    )
    opening = AlterDatabase("orders", allow_connections=True, connection_limit=-1)

    def with_schema(observed: DatabaseState) -> tuple[Operation, ...]:
        return operations(observed, {}, schema="app", connectionLimit=limit)

    for observed in (ABSENT, UNFINISHED):
        assert with_schema(observed)[-3:] == (opening, *last)
    assert with_schema(OURS) == last
    assert operations(OURS, {}, connectionLimit=limit) == last[1:]


def test_database_that_cannot_be_entered_gets_what_is_set_from_outside() -> None:
    desired = desired_database(
        database_spec(schema="app", connectionLimit=5),
        claimant=DATABASE,
        observed=OURS,
        server=server(version=140000, superuser=True),
    )
    observed = replace(OURS, schemas=frozenset(), public_schema_open=True)
    assert diff(without_inside(desired), observed).operations == (
        AlterDatabase("orders", connection_limit=5),
    )
