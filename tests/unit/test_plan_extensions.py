"""Extensions of a database: which may be made, and what is done for them."""

from dataclasses import replace

from pg_operator.api.specs import Extension
from pg_operator.plan.desired import desired_database, without_inside
from pg_operator.plan.diff import diff
from pg_operator.plan.extensions import judge_extensions
from pg_operator.plan.operations import (
    AlterExtensionSchema,
    AlterExtensionVersion,
    CreateExtension,
    CreateSchema,
    MarkDatabase,
    Operation,
)
from pg_operator.plan.state import DatabaseState, Installed, Mark
from tests.unit.plan_examples import DATABASE, database_spec, server
from tests.unit.test_plan_database import OURS


def extension(name: str, schema: str = "app", **more: str) -> Extension:
    return Extension.parse({"name": name, "schema": schema, **more})


def operations(
    observed: DatabaseState, *, schema: str | None = None, **extensions: Installed
) -> tuple[Operation, ...]:
    desired = desired_database(
        database_spec(**({} if schema is None else {"schema": schema})),
        claimant=DATABASE,
        observed=observed,
        server=server(),
        extensions=extensions,
    )
    return diff(desired, observed).operations


def having(**extensions: Installed) -> DatabaseState:
    mark = Mark(DATABASE, extensions=frozenset(extensions))
    return replace(OURS, mark=mark, extensions=extensions)


def test_only_trusted_and_allowed_extensions_are_made() -> None:
    declared = [
        extension("pg_trgm", version="1.6"),
        extension("plpython3u"),
        extension("postgis"),
        extension("no_such"),
    ]
    trusted = {"pg_trgm": True, "plpython3u": False, "postgis": False}
    judged = judge_extensions(declared, trusted=trusted, allowed=["postgis"])
    assert judged.usable == {
        "pg_trgm": Installed("app", "1.6"),
        "postgis": Installed("app"),
    }
    assert [(part.path, part.reason) for part in judged.pending] == [
        ("spec.extensions[plpython3u]", "NotAllowed"),
        ("spec.extensions[no_such]", "ExtensionNotFound"),
    ]


def test_extensions_are_created_after_the_schemas_in_the_order_written() -> None:
    cube, earth = Installed("app"), Installed("app", "1.2")
    assert operations(OURS, schema="app", earthdistance=cube, cube=earth) == (
        MarkDatabase(
            "orders", Mark(DATABASE, extensions=frozenset({"cube", "earthdistance"}))
        ),
        CreateSchema("orders", "app"),
        CreateExtension("orders", "earthdistance", "app", None),
        CreateExtension("orders", "cube", "app", "1.2"),
    )


def test_extension_is_brought_to_its_version_and_schema() -> None:
    observed = having(pg_trgm=Installed("public", "1.5"))
    assert operations(observed, pg_trgm=Installed("app", "1.6")) == (
        AlterExtensionVersion("orders", "pg_trgm", "1.6"),
        AlterExtensionSchema("orders", "pg_trgm", "app"),
    )
    assert operations(observed, pg_trgm=Installed("public")) == ()


def test_extension_that_left_the_spec_is_only_let_go() -> None:
    observed = having(pg_trgm=Installed("public", "1.5"))
    assert operations(observed) == (MarkDatabase("orders", Mark(DATABASE)),)


def test_extensions_wait_while_the_database_cannot_be_entered() -> None:
    desired = desired_database(
        database_spec(),
        claimant=DATABASE,
        observed=OURS,
        server=server(),
        extensions={"pg_trgm": Installed("public")},
    )
    (mark,) = diff(without_inside(desired), OURS).operations
    assert isinstance(mark, MarkDatabase)
