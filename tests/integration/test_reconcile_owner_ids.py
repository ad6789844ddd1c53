"""Several operators, or one after another, on one server: whose marks are whose."""

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pg_operator.plan.state import Mark
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.outcome import Key, Outcome
from tests.integration.postgres_bed import PASSWORD, Bed
from tests.integration.reconcile_bed import MAIN, OPERATOR, Stage, on_stage
from tests.localcluster.postgres import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "ownership.md"
PATIENCE = 60
# The name is another's, whose keys may be ours or not.
TAKEN = ("Conflict", "Unverified")
# The role is ours, and the database is not.
WAITING = ("PartiallyApplied",)
OLD_ID = "this-cluster"  # of a stage that is told nothing else


@contextlib.asynccontextmanager
async def new_cluster(
    server: PostgresServer, keyring: Keyring, **cluster: Any
) -> AsyncIterator[Stage]:
    """Another Kubernetes cluster with an operator of its own, and those keys."""
    async with on_stage(server.admin_dsn, **cluster) as stage:
        stage.context = replace(stage.context, owner_id="new-uid", keyring=keyring)
        # Namespaces that were created elsewhere have other UIDs.
        stage.uid_prefix = "new-uid-of"
        yield stage


def put_both(stage: Stage, bed: Bed, **changes: Any) -> list[Key]:
    """Declare a Database, and a DatabaseRole that may work in it."""
    database, role = bed.name("db"), bed.name("app")
    stage.secrets["shop", "password"] = {"password": PASSWORD.encode()}
    permission = {
        "database": database,
        "privileges": ["CONNECT"],
        "schemas": [{"name": "app", "privileges": ["USAGE"]}],
    }
    role_spec = {
        "roleName": role,
        "password": {"name": "password"},
        "permissions": [permission],
    }
    wanted = {"name": database, "schema": "app", "deletionPolicy": "Delete"}
    common = {**MAIN, **changes}
    return [
        stage.put("Database", "db", {**wanted, **common}, namespace="shop"),
        stage.put("DatabaseRole", "app", {**role_spec, **common}, namespace="shop"),
    ]


async def reasons(stage: Stage, keys: list[Key]) -> list[str]:
    return [(await stage.reconcile(key))[0] for key in keys]


async def owner_ids(bed: Bed, keyring: Keyring) -> set[str]:
    """Return whom the marks of both say that they belong to."""
    bed = replace(bed, keyring=keyring)
    marks = (
        (await bed.database(bed.name("db"))).mark,
        (await bed.role(bed.name("app"))).mark,
    )
    assert all(isinstance(mark, Mark) for mark in marks)
    return {mark.claimant.owner_id for mark in marks if isinstance(mark, Mark)}


def documented_cluster() -> dict[str, Any]:
    """Return the DatabaseCluster of the documented move, with the old id for ours."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## Move to a new Kubernetes cluster")[1].split("\n## ")[0]
    block = section.split("```yaml")[1].split("```")[0]
    spec: dict[str, Any] = yaml.safe_load(textwrap.dedent(block))["spec"]
    assert len(spec["previousOwnerIds"]) == 1
    return {**spec, "previousOwnerIds": [OLD_ID]}


def events(outcome: Outcome) -> list[str]:
    return [event.reason for event in outcome.events]


async def test_everything_moves_to_a_new_kubernetes_cluster_by_the_documented_steps(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    assert await reasons(stage, put_both(stage, bed)) == ["Reconciled"] * 2
    keyring = stage.context.keyring
    before = await bed.database(bed.name("db"))
    assert await owner_ids(bed, keyring) == {OLD_ID}

    async with new_cluster(server, keyring) as moved:
        moved.secrets[OPERATOR, "postgres-admin"] = moved.secrets[OPERATOR, "dsn"]
        keys = put_both(moved, bed, adopt=True)
        assert await reasons(moved, keys) == ["Conflict"] * 2
        moved.put("DatabaseCluster", "main", documented_cluster())
        taken = []
        for key in keys:
            reason, message, outcome = await moved.reconcile(key)
            assert reason == "Reconciled", message
            taken += events(outcome)
        assert taken[:2] == ["DatabaseAdopted", "RoleAdopted"]
        assert "PasswordChanged" not in taken
        assert (await bed.database(bed.name("db"))).oid == before.oid
        assert await owner_ids(bed, keyring) == {"new-uid"}
        async with bed.login(bed.name("app"), bed.name("db")) as connection:
            await connection.execute("SELECT")

        moved.put("DatabaseCluster", "main", {"connection": {"name": "dsn"}})
        keys = put_both(moved, bed, permissions=[])
        assert await reasons(moved, keys) == ["Reconciled"] * 2
        grants = await bed.grants(bed.name("app"), database=bed.name("db"))
        assert not [grant for grant in grants if grant.on.kind == "schema"]

        # The old operator, started by mistake, has lost both, and drops nothing.
        for old in put_both(stage, bed):
            assert (await stage.reconcile(old))[0] == "Conflict"
            stage.delete(old)
            assert (await stage.reconcile(old))[2].release
        assert (await bed.database(bed.name("db"))).exists
        assert (await bed.role(bed.name("app"))).login is True


async def test_without_the_old_keys_nothing_is_taken_over(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    await reasons(stage, put_both(stage, bed))
    keys = Keyring.from_secret(Keyring.generate())
    async with new_cluster(server, keys, previousOwnerIds=[OLD_ID]) as moved:
        taken = await reasons(moved, put_both(moved, bed, adopt=True))
        assert taken == ["Unverified"] * 2


async def test_copy_of_a_kubernetes_cluster_with_an_id_of_its_own_leaves_all_alone(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    await reasons(stage, put_both(stage, bed))
    async with on_stage(server.admin_dsn, ownerId="copy") as copy:
        # All UIDs are the same, as are the keys, and the objects.
        copy.context = replace(copy.context, keyring=stage.context.keyring)
        keys = put_both(copy, bed, adopt=True)
        assert await reasons(copy, keys) == ["Conflict"] * 2
        for key in keys:
            copy.delete(key)
            assert (await copy.reconcile(key))[2].release
    assert (await bed.database(bed.name("db"))).exists
    assert await owner_ids(bed, stage.context.keyring) == {OLD_ID}


async def test_of_two_kubernetes_clusters_at_once_each_name_goes_to_one(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    """Neither knows of the other, nor has its keys: somebody gave both the DSN."""
    own = Keyring.from_secret(Keyring.generate())
    async with new_cluster(server, own) as other:
        stages = (stage, other)
        keys = [put_both(each, bed) for each in stages]
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for each, both in zip(stages, keys, strict=True):
                group.create_task(_settle(each, both))
        ends = [await reasons(*one) for one in zip(stages, keys, strict=True)]
        for kind, found in enumerate(zip(*ends, strict=True)):
            assert sum(reason in TAKEN for reason in found) == 1, ends
            (loser,) = (n for n, reason in enumerate(found) if reason in TAKEN)
            stages[loser].delete(keys[loser][kind])
            assert (await stages[loser].reconcile(keys[loser][kind]))[2].release
    assert (await bed.database(bed.name("db"))).exists
    assert (await bed.role(bed.name("app"))).login is True


async def _settle(stage: Stage, keys: list[Key]) -> None:
    """Reconcile as the queue does until each key has what it asks for, or will not."""
    while not {*await reasons(stage, keys)} <= {*TAKEN, "Reconciled", *WAITING}:
        pass


async def test_operator_that_changes_its_id_carries_on_with_what_it_has(
    stage: Stage, bed: Bed
) -> None:
    keys = put_both(stage, bed)
    assert await reasons(stage, keys) == ["Reconciled"] * 2
    spec: dict[str, Any] = {"connection": {"name": "dsn"}, "ownerId": "production"}
    cluster = stage.put("DatabaseCluster", "main", spec)
    _, _, outcome = await stage.reconcile(cluster)
    assert outcome.status["ownerId"] == "production"
    assert await reasons(stage, keys) == ["Conflict"] * 2

    stage.put("DatabaseCluster", "main", {**spec, "previousOwnerIds": [OLD_ID]})
    rival = {"name": bed.name("db"), **MAIN, "adopt": True}
    other = stage.put("Database", "rival", rival, namespace="shop")
    assert (await stage.reconcile(other))[0] == "Conflict", "the object is still there"
    # The role's own database still has a mark of the old id when the role goes first.
    assert await reasons(stage, keys[::-1]) == ["Reconciled"] * 2
    assert await owner_ids(bed, stage.context.keyring) == {"production"}
    stage.put("DatabaseCluster", "main", spec)
    assert await reasons(stage, keys) == ["Reconciled"] * 2


@pytest.mark.parametrize("twin_id", ["twin", OLD_ID])
async def test_previous_id_that_still_works_here_gives_nothing_away(
    stage: Stage, bed: Bed, twin_id: str
) -> None:
    keys = put_both(stage, bed)
    stage.put(
        "DatabaseCluster",
        "twin",
        {
            "connection": {"name": "dsn"},
            "ownerId": twin_id,
            "previousOwnerIds": [OLD_ID],
        },
    )
    assert await reasons(stage, keys) == ["Reconciled"] * 2
    twin = {"databaseClusterRef": {"name": "twin"}, "adopt": True}
    rival = {"name": bed.name("db"), **twin}
    other = stage.put("Database", "rival", rival, namespace="shop")
    assert (await stage.reconcile(other))[0] == "Conflict"
