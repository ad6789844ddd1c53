"""Marks that somebody overwrote, copied or forged."""

from dataclasses import replace

import pytest

from pg_operator.plan.state import Mark, UnverifiedMark
from pg_operator.reconcilers.witness import Witness
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage

COMMENT = (
    "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
)


@pytest.mark.parametrize("kind", ["Database", "DatabaseRole"])
@pytest.mark.parametrize("forged", ["NULL", "'mine now'", "'{mark}'"])
async def test_overwritten_mark_is_put_back_by_the_process_that_saw_it(
    stage: Stage, bed: Bed, kind: str, forged: str
) -> None:
    """Also when it is overwritten with the mark of another object."""
    word, field = {
        "Database": ("DATABASE", "name"),
        "DatabaseRole": ("ROLE", "roleName"),
    }[kind]
    name = bed.name("x")
    spec = {field: name, **MAIN}
    key = stage.put(kind, "x", spec, namespace="shop")  # type: ignore[arg-type]
    await stage.reconcile(key)
    stolen = stage.context.keyring.seal(
        Mark(bed.claimant("Database", "else")), on="database:other"
    )
    await bed.execute(f"COMMENT ON {word} {name} IS {forged.replace('{mark}', stolen)}")

    reason, _, outcome = await stage.reconcile(key)

    assert reason == "Reconciled"
    assert outcome.events[0].reason == "MarkRestored"
    reason, _, outcome = await stage.reconcile(key)
    assert (reason, outcome.events) == ("Reconciled", ())


async def test_mark_that_was_overwritten_unseen_is_not_guessed(
    stage: Stage, bed: Bed
) -> None:
    name = bed.name("x")
    key = stage.put("Database", "x", {"name": name, **MAIN}, namespace="shop")
    await stage.reconcile(key)
    async with bed.connections.session() as connection:
        cursor = await connection.execute(COMMENT, (name,))
        ((mark,),) = await cursor.fetchall()
    await bed.execute(f"COMMENT ON DATABASE {name} IS NULL")
    stage.context = replace(stage.context, witness=Witness())  # as after a restart
    reason, message, _ = await stage.reconcile(key)
    assert reason == "AlreadyExists"
    assert "its comment was changed" in message
    # Who has the old comment can still put it back.
    await bed.execute(f"COMMENT ON DATABASE {name} IS '{mark}'")
    assert (await stage.reconcile(key))[0] == "Reconciled"


async def test_deleting_an_object_without_its_mark_drops_nothing(
    stage: Stage, bed: Bed
) -> None:
    name = bed.name("x")
    spec = {"name": name, **MAIN, "deletionPolicy": "Delete"}
    key = stage.put("Database", "x", spec, namespace="shop")
    await stage.reconcile(key)
    await bed.execute(f"COMMENT ON DATABASE {name} IS 'theirs'")
    stage.context = replace(stage.context, witness=Witness())
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release
    assert (await bed.database(name)).comment == "theirs"


async def test_database_that_took_the_name_of_another_gets_no_mark_of_it(
    stage: Stage, bed: Bed
) -> None:
    name = bed.name("x")
    key = stage.put("Database", "x", {"name": name, **MAIN}, namespace="shop")
    await stage.reconcile(key)
    await bed.execute(f"DROP DATABASE {name}", f"CREATE DATABASE {name}")
    assert (await stage.reconcile(key))[0] == "AlreadyExists"
    assert (await bed.database(name)).mark is None


async def test_mark_of_another_key_is_unverified(stage: Stage, bed: Bed) -> None:
    """Whoever has no key of ours can forge nothing that counts."""
    name = bed.name("x")
    await bed.create_database(name)
    key = stage.put("Database", "x", {"name": name, **MAIN}, namespace="shop")
    assert (await stage.reconcile(key))[0] == "Unverified"
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release
    state = await bed.database(name)
    assert state.exists
    assert not isinstance(state.mark, UnverifiedMark)
