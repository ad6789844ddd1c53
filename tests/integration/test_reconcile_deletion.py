"""Roles and databases that go together, and drops that were cut off."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from pg_operator.reconcilers.outcome import Key
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage
from tests.localcluster.postgres import PostgresServer


async def declare(stage: Stage, bed: Bed) -> tuple[Key, Key]:
    """Make a role that owns its database and a schema in it."""
    owner = bed.name("owner")
    role = stage.put(
        "DatabaseRole", "owner", {"roleName": owner, **MAIN}, namespace="a"
    )
    spec = {
        "name": bed.name("db"),
        **MAIN,
        "owner": owner,
        "schema": "app",
        "deletionPolicy": "Delete",
    }
    database = stage.put("Database", "db", spec, namespace="a")
    for key in (role, database):
        assert (await stage.reconcile(key))[0] == "Reconciled"
    return role, database


async def make_doomed(stage: Stage, bed: Bed) -> Key:
    """Make a Database whose database is to go with it."""
    spec = {"name": bed.name("db"), **MAIN, "deletionPolicy": "Delete"}
    key = stage.put("Database", "db", spec, namespace="a")
    assert (await stage.reconcile(key))[0] == "Reconciled"
    return key


async def test_role_deleted_just_before_its_database_is_dropped_after_it(
    stage: Stage, bed: Bed
) -> None:
    role, database = await declare(stage, bed)
    stage.delete(role)
    reason, _, outcome = await stage.reconcile(role)
    assert (reason, outcome.release) == ("WaitingForReferences", False)
    assert outcome.requeue_after == timedelta(seconds=10)
    stage.delete(database)
    stage.now += timedelta(seconds=60)
    assert (await stage.reconcile(role))[0] == "WaitingForReferences"
    assert (await stage.reconcile(database))[2].release
    stage.remove(database)
    assert (await stage.reconcile(role))[2].release
    assert not (await bed.role(bed.name("owner"))).exists


async def test_role_whose_database_stays_is_disabled_after_a_moment(
    stage: Stage, bed: Bed
) -> None:
    role, _ = await declare(stage, bed)
    stage.delete(role)
    stage.now += timedelta(seconds=11)
    assert (await stage.reconcile(role))[2].release
    state = await bed.role(bed.name("owner"))
    assert (state.exists, state.login) == (True, False)


@pytest.mark.parametrize("policy", ["Disable", "Delete"])
async def test_session_of_a_role_whose_object_is_deleted_ends(
    stage: Stage, bed: Bed, policy: str
) -> None:
    """PostgreSQL lets it go on, even of a role that is gone."""
    name, password = bed.name("app"), "not a good one"
    stage.secrets["a", "login"] = {"password": password.encode()}
    spec = {"roleName": name, "password": {"name": "login"}, "deletionPolicy": policy}
    key = stage.put("DatabaseRole", "app", {**spec, **MAIN}, namespace="a")
    await stage.reconcile(key)
    async with bed.login(name, "postgres", password=password) as session:
        stage.delete(key)
        assert (await stage.reconcile(key))[2].release
        with pytest.raises(psycopg.OperationalError):
            await session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        async with bed.login(name, "postgres", password=password):
            pass


async def test_role_does_not_wait_for_another_namespaces_claim_to_its_database(
    stage: Stage, bed: Bed
) -> None:
    role, _ = await declare(stage, bed)
    rival = stage.put(
        "Database",
        "rival",
        {"name": bed.name("db"), **MAIN, "deletionPolicy": "Delete"},
        namespace="b",
    )
    assert (await stage.reconcile(rival))[0] == "Conflict"
    stage.delete(rival)  # and held by a finalizer of its own
    stage.delete(role)
    stage.now += timedelta(seconds=11)
    assert (await stage.reconcile(role))[2].release


@pytest.mark.parametrize("value", ["Paused", "Plan"])
async def test_role_does_not_wait_for_a_database_that_is_held(
    stage: Stage, bed: Bed, value: str
) -> None:
    """It may be another namespace's, and for ever."""
    role, database = await declare(stage, bed)
    stage.delete(database, annotations={"pg-operator.dev/reconcile": value})
    stage.delete(role)
    assert (await stage.reconcile(database))[0] in {"Paused", "Planned"}
    assert (await stage.reconcile(role))[2].release
    assert not (await bed.role(bed.name("owner"))).login


async def test_database_whose_drop_was_cut_off_is_made_anew_only_if_it_may_be_dropped(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    name = bed.name("db")
    spec = {"name": name, **MAIN}
    key = stage.put("Database", "db", spec, namespace="a")
    await stage.reconcile(key)
    before = (await bed.database(name)).oid
    await run_as_superuser(
        server.superuser_dsn,
        f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'",
    )
    reason, message, _ = await stage.reconcile(key)
    assert reason == "DatabaseInvalid"
    assert "interrupted" in message
    assert (await bed.database(name)).oid == before
    key = stage.put(
        "Database", "db", {**spec, "deletionPolicy": "Delete"}, namespace="a"
    )
    assert (await stage.reconcile(key))[0] == "Reconciled"
    state = await bed.database(name)
    assert state.oid != before
    assert state.connection_limit == -1


async def test_database_whose_drop_was_cut_off_goes_with_its_object(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    """PostgreSQL refuses to alter it, 15 by the end of the session."""
    key = await make_doomed(stage, bed)
    name = bed.name("db")
    await run_as_superuser(
        server.superuser_dsn,
        f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'",
    )
    stage.delete(key)
    assert (await stage.reconcile(key))[2].release
    assert not (await bed.database(name)).exists


async def test_database_is_not_dropped_while_a_slot_would_be_lost_with_it(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    """PostgreSQL drops it silently, and its reader has lost its place."""
    key = await make_doomed(stage, bed)
    name = bed.name("db")
    await run_as_superuser(
        server.superuser_dsn,
        f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')",
        database=name,
    )
    stage.delete(key)
    reason, message, outcome = await stage.reconcile(key)
    assert (reason, outcome.release) == ("DeletionBlocked", False)
    assert "logical replication slots: 1" in message
    state = await bed.database(name)
    assert (state.exists, state.allow_connections) == (True, True)
    await run_as_superuser(
        server.superuser_dsn, f"SELECT pg_drop_replication_slot('{name}')"
    )
    assert (await stage.reconcile(key))[2].release
    assert not (await bed.database(name)).exists


async def test_object_that_goes_with_its_crd_keeps_what_it_stood_for(
    stage: Stage, bed: Bed
) -> None:
    """Whatever its deletionPolicy: nobody decided about this very object."""
    keys = await declare(stage, bed)
    stage.crds_are_going = True
    for key in keys:
        stage.delete(key)
        assert (await stage.reconcile(key))[2].release
    assert (await bed.role(bed.name("owner"))).exists
    assert (await bed.database(bed.name("db"))).exists


async def test_object_in_a_namespace_not_worked_in_can_be_deleted_all_the_same(
    stage: Stage, bed: Bed
) -> None:
    role, database = await declare(stage, bed)
    stage.settings = replace(stage.settings, namespaces=frozenset({"b"}))
    reason, message, _ = await stage.reconcile(database)
    assert (reason, "--namespaces" in message) == ("NotAllowed", True)
    for key in (database, role):
        stage.delete(key)
        assert (await stage.reconcile(key))[2].release
    assert not (await bed.database(bed.name("db"))).exists


async def declare_group(stage: Stage, bed: Bed, server: PostgresServer) -> Key:
    """Make a role that policies on a table of somebody else's name."""
    name = bed.name("group")
    spec = {"name": bed.name("db"), **MAIN}
    database = stage.put("Database", "db", spec, namespace="a")
    role = stage.put("DatabaseRole", "group", {"roleName": name, **MAIN}, namespace="a")
    for key in (role, database):
        assert (await stage.reconcile(key))[0] == "Reconciled"
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {bed.name('member')}",
        "CREATE TABLE public.orders AS SELECT 1 AS tenant UNION SELECT 2",
        "ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON public.orders TO {bed.name('member')}",
        "CREATE POLICY everyone ON public.orders USING (true)",
        f"ALTER TABLE public.orders OWNER TO {bed.server.login}",
        database=bed.name("db"),
    )
    return role


async def policies(bed: Bed) -> set[str]:
    async with bed.connections.session(bed.name("db")) as connection:
        cursor = await connection.execute("SELECT polname FROM pg_catalog.pg_policy")
        return {name for (name,) in await cursor.fetchall()}


async def test_permissive_policies_of_a_dropped_role_go_and_that_is_told(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    """PostgreSQL drops a policy that names nobody else without a word."""
    role = await declare_group(stage, bed, server)
    group, member = bed.name("group"), bed.name("member")
    await bed.execute(
        f"CREATE POLICY own ON public.orders TO {group} USING (tenant = 1)",
        f"CREATE POLICY shared ON public.orders TO {group}, {member}",
        database=bed.name("db"),
    )
    await run_as_superuser(server.superuser_dsn, f"GRANT {group} TO {member}")
    stage.delete(role)
    _, _, outcome = await stage.reconcile(role)
    assert outcome.release
    told = [event for event in outcome.events if event.reason == "PoliciesDropped"]
    (event,) = told
    assert event.message.startswith("Dropped 1 row security policies in database")
    assert await policies(bed) == {"everyone", "shared"}
    assert not (await bed.role(group)).exists


async def test_role_is_not_dropped_whose_members_would_see_more_rows_without_it(
    stage: Stage, bed: Bed, server: PostgresServer
) -> None:
    role = await declare_group(stage, bed, server)
    group, member = bed.name("group"), bed.name("member")
    await bed.execute(
        f"CREATE POLICY narrow ON public.orders AS RESTRICTIVE TO {group}"
        " USING (tenant = 1)",
        database=bed.name("db"),
    )
    await run_as_superuser(server.superuser_dsn, f"GRANT {group} TO {member}")
    stage.delete(role)
    reason, message, outcome = await stage.reconcile(role)
    assert (reason, outcome.release) == ("DeletionBlocked", False)
    assert "1 restrictive row security policies" in message
    assert await policies(bed) == {"everyone", "narrow"}

    await run_as_superuser(server.superuser_dsn, f"REVOKE {group} FROM {member}")
    _, _, outcome = await stage.reconcile(role)
    assert outcome.release
    assert await policies(bed) == {"everyone"}
