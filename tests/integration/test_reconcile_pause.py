"""Objects that an annotation holds: nothing is done for them, and then all at once."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pg_operator.reconcilers.outcome import Key, Object, Outcome
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage, on_stage

CONNECTION = {"connection": {"name": "dsn"}}


@pytest.fixture
async def stage(admin_dsn: str) -> AsyncIterator[Stage]:
    async with on_stage(admin_dsn) as stage:
        yield stage


def told(value: str | None) -> dict[str, Any]:
    return {
        "annotations": {} if value is None else {"pg-operator.dev/reconcile": value}
    }


def put(
    stage: Stage,
    bed: Bed,
    value: str | None,
    *,
    status: Object | None = None,
    **spec: Any,
) -> Key:
    """Store the Database of the test."""
    wanted = {"name": bed.name("shop"), **MAIN, **spec}
    kept = {} if status is None else {"status": status}
    return stage.put(
        "Database", "shop", wanted, namespace="shop", **told(value), **kept
    )


def sql_of(outcome: Outcome) -> list[str]:
    return [one["statement"] for one in outcome.status["plan"]["sql"]]


@pytest.mark.parametrize("value", ["Paused", "paused", "Plan"])
async def test_held_object_does_nothing_and_goes_on_when_told(
    stage: Stage, bed: Bed, value: str
) -> None:
    key = put(stage, bed, value, databaseServiceName="shop-db")
    reason, _, held = await stage.reconcile(key)
    assert reason == ("Planned" if value == "Plan" else "Paused")
    assert not (await bed.database(bed.name("shop"))).exists
    if value == "Plan":
        marks = [one for one in sql_of(held) if one.endswith("IS '<mark>'")]
        assert held.status["plan"]["statements"] == len(sql_of(held)) - 1
        assert len(marks) == 1
    # A status with a plan, as it was just stored.
    key = put(stage, bed, None, status=dict(held.status))
    reason, _, outcome = await stage.reconcile(key)
    assert reason == "Reconciled"
    assert outcome.status.get("plan") is None
    assert ("plan" in outcome.status) == ("plan" in held.status)
    assert (await bed.database(bed.name("shop"))).exists


@pytest.mark.parametrize("value", ["Paused", "Plan"])
async def test_cluster_holds_all_its_objects(
    stage: Stage, bed: Bed, value: str
) -> None:
    stage.put("DatabaseCluster", "main", CONNECTION, **told(value))
    database = put(stage, bed, None)
    spec = {"roleName": bed.name("app"), **MAIN}
    role = stage.put("DatabaseRole", "app", spec, namespace="shop")
    for key in (database, role):
        reason, message, _ = await stage.reconcile(key)
        assert reason == ("Planned" if value == "Plan" else "Paused")
        assert "of DatabaseCluster 'main'" in message
    assert not (await bed.database(bed.name("shop"))).exists
    assert not (await bed.role(bed.name("app"))).exists
    _, _, outcome = await stage.reconcile(Key("DatabaseCluster", "", "main"))
    said = {one.type: (one.status, one.reason) for one in outcome.conditions}
    assert said["Available"] == ("True", "Connected")
    assert said["Paused"][0] == "True"


@pytest.mark.parametrize("value", ["Paused", "Plan"])
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_waits_until_the_annotation_goes(
    stage: Stage, bed: Bed, value: str, policy: str
) -> None:
    await stage.reconcile(put(stage, bed, None, deletionPolicy=policy))
    key = put(stage, bed, value, deletionPolicy=policy)
    stage.delete(key)
    before = await bed.database(bed.name("shop"))
    _, message, held = await stage.reconcile(key)
    assert (held.release, "pg-operator.dev/release" in message) == (False, True)
    assert await bed.database(bed.name("shop")) == before
    if value == "Plan":
        last = sql_of(held)[-1]
        start = "DROP DATABASE" if policy == "Delete" else "COMMENT ON DATABASE"
        assert last.startswith(start)
    put(stage, bed, None, deletionPolicy=policy)
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release
    gone = not (await bed.database(bed.name("shop"))).exists
    assert gone == (policy == "Delete")


@pytest.mark.parametrize("value", ["Paused", "Plan"])
async def test_deletion_waits_also_while_the_server_is_away(
    stage: Stage, bed: Bed, value: str
) -> None:
    """An object that keeps its data would go at once else."""
    dsn = stage.secrets["operators", "dsn"]["connection"].decode()
    away = re.sub("port=[0-9]+", "port=1", dsn)
    stage.secrets["operators", "dsn"] = {"connection": away.encode()}
    key = put(stage, bed, value)
    stage.delete(key)
    assert not (await stage.reconcile(key))[2].release


@pytest.mark.parametrize("value", ["Paused", "Plan"])
async def test_held_object_is_let_go_by_its_annotation(
    stage: Stage, bed: Bed, value: str
) -> None:
    annotations = {
        "pg-operator.dev/reconcile": value,
        "pg-operator.dev/release": "true",
    }
    spec = {"name": bed.name("shop"), **MAIN}
    key = stage.put("Database", "shop", spec, namespace="shop", annotations=annotations)
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release


async def test_cluster_goes_when_nothing_holds_it_any_more(stage: Stage) -> None:
    key = stage.put("DatabaseCluster", "main", CONNECTION, **told("Paused"))
    stage.delete(key)
    assert not (await stage.reconcile(key))[2].release
    stage.put("DatabaseCluster", "main", CONNECTION)
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release


async def test_plan_shows_what_somebody_changed_and_leaves_it(
    stage: Stage, bed: Bed, superuser_dsn: str
) -> None:
    name = bed.name("shop")
    await stage.reconcile(put(stage, bed, None))
    await run_as_superuser(superuser_dsn, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
    _, _, held = await stage.reconcile(put(stage, bed, "Plan"))
    assert sql_of(held) == [f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC']
    assert (await bed.database(name)).public_privileges == frozenset({"CONNECT"})


async def test_plan_of_what_cannot_be_worked_on_says_why(
    stage: Stage, bed: Bed, superuser_dsn: str
) -> None:
    await run_as_superuser(superuser_dsn, f"CREATE DATABASE {bed.name('shop')}")
    reason, message, held = await stage.reconcile(put(stage, bed, "Plan"))
    assert (reason, "without a mark of pg-operator" in message) == ("Planned", True)
    assert held.status == {}


async def test_plan_neither_makes_a_password_nor_its_secret(
    stage: Stage, bed: Bed
) -> None:
    """The stage has nothing that could write a Secret."""
    spec = {
        "roleName": bed.name("app"),
        **MAIN,
        "generatePassword": True,
        "connectionSecret": {"name": "app", "database": "shop"},
    }
    key = stage.put("DatabaseRole", "app", spec, namespace="shop", **told("Plan"))
    reason, _, held = await stage.reconcile(key)
    assert reason == "Planned"
    assert sql_of(held)[0].endswith("LOGIN PASSWORD '<redacted>'")
    assert not (await bed.role(bed.name("app"))).exists
