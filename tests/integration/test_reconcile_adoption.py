"""Taking over what is on the server: by consent of both sides only."""

from typing import Any

from pg_operator.reconcilers.outcome import Outcome
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage
from tests.localcluster.postgres import PostgresServer


def agree(stage: Stage, **adoption: Any) -> None:
    spec = {"connection": {"name": "dsn"}, "adoption": adoption}
    stage.put("DatabaseCluster", "main", spec)


def events(outcome: Outcome) -> list[str]:
    return [event.reason for event in outcome.events]


async def test_kept_database_is_taken_over_in_its_namespace_and_by_no_other(
    stage: Stage, bed: Bed
) -> None:
    spec = {"name": bed.name("db"), **MAIN}
    first = stage.put("Database", "first", spec, namespace="shop")
    reason, _, outcome = await stage.reconcile(first)
    assert (reason, events(outcome)) == ("Reconciled", ["DatabaseCreated"])
    grab = stage.put("Database", "grab", {**spec, "adopt": True}, namespace="crm")
    assert (await stage.reconcile(grab))[0] == "Conflict"

    stage.remove(first)
    assert (await stage.reconcile(grab))[0] == "AlreadyExists"
    shy = stage.put("Database", "second", spec, namespace="shop")
    reason, message, _ = await stage.reconcile(shy)
    assert reason == "AlreadyExists"
    assert "`adopt: true`" in message
    bold = stage.put("Database", "second", {**spec, "adopt": True}, namespace="shop")
    reason, _, outcome = await stage.reconcile(bold)
    assert (reason, events(outcome)) == ("Reconciled", ["DatabaseAdopted"])
    assert (await stage.reconcile(grab))[0] == "Conflict"
    agree(stage, policy="Never")
    assert (await stage.reconcile(bold))[0] == "Reconciled"


async def test_what_was_made_by_hand_goes_to_the_namespace_it_is_listed_for(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    name = bed.name("legacy")
    await bed.execute(f"CREATE DATABASE {name}", f"COMMENT ON DATABASE {name} IS 'old'")
    spec = {"name": name, **MAIN, "adopt": True}
    key = stage.put("Database", "legacy", spec, namespace="shop")
    grab = stage.put("Database", "legacy", spec, namespace="crm")
    for each in (key, grab):
        assert (await stage.reconcile(each))[0] == "AlreadyExists"
    agree(stage, policy="Listed", databases=[{"name": name, "namespace": "shop"}])
    assert (await stage.reconcile(grab))[0] == "AlreadyExists"
    assert (await stage.reconcile(key))[0] == "Reconciled"
    assert (await stage.reconcile(grab))[0] == "Conflict"
    state = await bed.database(name)
    assert state.public_privileges == frozenset({"CONNECT", "TEMPORARY"})


async def test_role_made_by_hand_is_taken_over_and_superusers_never(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    role, root = bed.name("role"), bed.name("root")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT {role} TO {bed.server.login} WITH ADMIN OPTION",
        f"CREATE ROLE {root} SUPERUSER",
    )
    listed = [{"name": name, "namespace": "shop"} for name in (role, root)]
    agree(stage, policy="Listed", roles=listed)
    outcomes = {}
    for name in (role, root):
        spec = {"roleName": name, **MAIN, "adopt": True, "connectionLimit": 3}
        key = stage.put("DatabaseRole", name.replace("_", "-"), spec, namespace="shop")
        outcomes[name] = await stage.reconcile(key)
    assert outcomes[role][0] == "Reconciled"
    assert "RoleAdopted" in events(outcomes[role][2])
    assert outcomes[role][2].status["deletionPolicy"] == "Retain"
    assert outcomes[root][0] == "NotAllowed"
    assert (await bed.role(root)).connection_limit == -1


async def test_another_server_is_left_alone_until_it_is_confirmed(
    stage: Stage, bed: Bed
) -> None:
    before = {"server": {"systemIdentifier": "1"}}
    spec: dict[str, Any] = {"connection": {"name": "dsn"}}
    cluster = stage.put("DatabaseCluster", "main", spec, status=before)
    _, message, outcome = await stage.reconcile(cluster)
    (available,) = [one for one in outcome.conditions if one.type == "Available"]
    assert (available.status, available.reason) == ("False", "ServerChanged")
    assert bed.server.system_identifier in message
    wanted = {"name": bed.name("db"), **MAIN}
    database = stage.put("Database", "db", wanted, namespace="shop")
    assert (await stage.reconcile(database))[0] == "ClusterUnavailable"
    assert not (await bed.database(bed.name("db"))).exists

    spec["expectedSystemIdentifier"] = bed.server.system_identifier
    stage.put("DatabaseCluster", "main", spec, status=before)
    assert (await stage.reconcile(cluster))[0] == "Connected"
    assert (await stage.reconcile(database))[0] == "Reconciled"


async def test_two_database_clusters_that_name_one_server_share_its_names(
    stage: Stage, bed: Bed
) -> None:
    stage.put("DatabaseCluster", "twin", {"connection": {"name": "dsn"}})
    name = bed.name("db")
    first = stage.put("Database", "first", {"name": name, **MAIN}, namespace="shop")
    assert (await stage.reconcile(first))[0] == "Reconciled"
    before = await bed.database(name)
    twin = {"databaseClusterRef": {"name": "twin"}, "deletionPolicy": "Delete"}
    for namespace in ("shop", "crm"):
        spec = {"name": name, **twin, "adopt": True, "connectionLimit": 3}
        second = stage.put("Database", "second", spec, namespace=namespace)
        assert (await stage.reconcile(second))[0] == "Conflict"
        stage.delete(second)
        assert (await stage.reconcile(second))[2].release
    assert await bed.database(name) == before
