"""Extensions of a Database: what its document says of them, and what is told."""

from typing import Any

from pg_operator.plan.state import Mark
from pg_operator.reconcilers.outcome import Outcome
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage


def events(outcome: Outcome) -> list[str]:
    return [event.reason for event in outcome.events]


async def recorded(stage: Stage, bed: Bed) -> frozenset[str]:
    """Return the extensions that the database's mark says are its object's."""
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = %s",
            (bed.name("db"),),
        )
        row = await cursor.fetchone()
    assert row is not None
    name = f"database:{bed.name('db')}"
    mark = stage.context.keyring.open_comment(row[0], on=name)
    assert isinstance(mark, Mark)
    return mark.extensions


async def test_extension_whose_entry_became_invalid_did_not_leave_the_spec(
    stage: Stage, bed: Bed
) -> None:
    async def declare(*extensions: dict[str, Any]) -> tuple[str, Outcome]:
        spec = {"name": bed.name("db"), **MAIN, "extensions": list(extensions)}
        key = stage.put("Database", "db", spec, namespace="shop")
        reason, _, outcome = await stage.reconcile(key)
        return reason, outcome

    trgm = {"name": "pg_trgm", "schema": "public"}
    assert (await declare(trgm))[0] == "Reconciled"
    # The webhook refuses this; it may have been off.
    reason, outcome = await declare({**trgm, "version": "1--2"})
    assert (reason, events(outcome)) == ("PartiallyApplied", ["PartiallyApplied"])
    assert await recorded(stage, bed) == {"pg_trgm"}
    reason, outcome = await declare()
    assert (reason, events(outcome)) == ("Reconciled", ["ExtensionReleased"])
    assert await recorded(stage, bed) == frozenset()
