"""The SQL that is shown: the renderer's, with nothing secret or random in it."""

from pg_operator.api.secret import SecretText
from pg_operator.plan.batches import Plan
from pg_operator.plan.operations import (
    AlterRole,
    CreateSchema,
    MarkDatabase,
    MarkRole,
)
from pg_operator.plan.state import Mark, Password
from pg_operator.postgres.script import Statement, render_script
from tests.unit.plan_examples import ROLE, server


def test_script_hides_passwords_marks_and_comments_of_others() -> None:
    password = Password("fingerprint", SecretText("geheim"))
    plan = Plan(
        (
            AlterRole("app", password=password),
            MarkRole("app", Mark(ROLE)),
            MarkDatabase("shop", None, comment="geheim"),
            CreateSchema("shop", "app"),
        )
    )
    script = render_script(plan, server=server())
    assert script == (
        Statement("ALTER ROLE \"app\" PASSWORD '<redacted>'"),
        Statement("COMMENT ON ROLE \"app\" IS '<mark>'", is_mark=True),
        Statement("COMMENT ON DATABASE \"shop\" IS '<redacted>'", is_mark=True),
        Statement('CREATE SCHEMA "app"', database="shop"),
    )
