"""Spec to server and back: what was applied is observed as desired."""

from dataclasses import replace
from typing import Any

from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import desired_database, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.permissions import (
    declared_scope,
    desired_grants,
    wanted_objects,
)
from pg_operator.plan.state import DatabaseState, RoleState
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.apply import apply
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.observe import observe_catalog, observe_server
from pg_operator.postgres.observe_databases import observe_database
from pg_operator.postgres.observe_dependencies import observe_dependencies
from pg_operator.postgres.observe_privileges import observe_holdings
from tests.integration.postgres_bed import Bed, observe_role, open_bed
from tests.unit.plan_examples import everything


def database_spec(bed: Bed) -> DatabaseSpec:
    return DatabaseSpec.parse(
        {
            "name": bed.name("shop"),
            "databaseClusterRef": {"name": "main"},
            "schemas": [{"name": "app"}, {"name": "audit"}],
            "timezone": "Europe/Paris",
            "connectionLimit": 20,
        }
    )


def role_spec(bed: Bed, *tables: dict[str, Any]) -> DatabaseRoleSpec:
    return DatabaseRoleSpec.parse(
        {
            "roleName": bed.name("app"),
            "databaseClusterRef": {"name": "main"},
            "password": {"name": "secret"},
            "permissions": [
                {
                    "database": bed.name("shop"),
                    "privileges": ["ALL"],
                    "schemas": [
                        {"name": "app", "privileges": ["USAGE"], "tables": list(tables)}
                    ],
                }
            ],
        }
    )


async def plan_database(bed: Bed, spec: DatabaseSpec) -> Plan:
    observed = await bed.database(spec.name)
    if observed.exists:
        async with bed.connections.session(spec.name) as connection:
            catalog = await observe_catalog(connection)
        observed = replace(observed, schemas=catalog.schemas)
    desired = desired_database(
        spec, claimant=bed.claimant("Database"), observed=observed, server=bed.server
    )
    return diff(desired, observed)


async def plan_role(bed: Bed, spec: DatabaseRoleSpec) -> Plan:
    observed = await bed.role(spec.role_name)
    (permission,) = spec.permissions
    async with bed.connections.session(permission.database) as connection:
        catalog = await observe_catalog(connection, wanted=wanted_objects(permission))
        held = (await observe_holdings(connection, spec.role_name)).grants
    observed = replace(observed, grants=observed.grants | held)
    version = bed.server.version_number
    grants, pending = desired_grants(
        permission, catalog=catalog, server_version=version
    )
    assert pending == ()
    desired = desired_role(
        spec,
        claimant=bed.claimant("DatabaseRole"),
        observed=observed,
        server=bed.server,
        password=bed.password(role=spec.role_name),
        grants=grants,
        scope=declared_scope(spec.permissions, server_version=version),
    )
    return diff(desired, observed)


async def carry_out(bed: Bed, plan: Plan) -> Applied:
    return await apply(
        plan, server=bed.server, connections=bed.connections, keyring=bed.keyring
    )


async def test_second_pass_over_a_database_finds_nothing_to_write(bed: Bed) -> None:
    spec = database_spec(bed)
    applied = await carry_out(bed, await plan_database(bed, spec))
    assert applied.pending == ()
    assert applied.statements > 0
    assert await plan_database(bed, spec) == Plan()


async def test_second_pass_over_a_role_finds_nothing_to_write(bed: Bed) -> None:
    await carry_out(bed, await plan_database(bed, database_spec(bed)))
    await bed.execute(
        "CREATE TABLE app.orders (id int)",
        "CREATE VIEW app.report AS SELECT 1 AS one",
        database=bed.name("shop"),
    )
    spec = role_spec(bed, {"name": "*", "privileges": ["ALL"]})
    applied = await carry_out(bed, await plan_role(bed, spec))
    assert applied.pending == ()
    assert await plan_role(bed, spec) == Plan()


async def test_role_with_the_wildcard_follows_tables_and_gives_all_back(
    bed: Bed,
) -> None:
    shop = bed.name("shop")
    await carry_out(bed, await plan_database(bed, database_spec(bed)))
    spec = role_spec(bed, {"name": "*", "privileges": ["SELECT", "INSERT"]})
    await carry_out(bed, await plan_role(bed, spec))
    await bed.execute("CREATE TABLE app.later (id int)", database=shop)
    await carry_out(bed, await plan_role(bed, spec))
    assert await plan_role(bed, spec) == Plan()
    words = {
        (g.on.name, g.privilege)
        for g in await bed.grants(spec.role_name, database=shop)
    }
    assert words == {("", "USAGE"), ("later", "SELECT"), ("later", "INSERT")}

    nothing = role_spec(bed)
    applied = await carry_out(bed, await plan_role(bed, nothing))
    assert applied.pending == ()
    words = {
        (g.on.name, g.privilege)
        for g in await bed.grants(spec.role_name, database=shop)
    }
    assert words == {("", "USAGE")}


async def test_unfinished_database_is_finished(bed: Bed) -> None:
    """Only the first statement got through: the plan goes on from there."""
    spec = database_spec(bed)
    plan = await plan_database(bed, spec)
    await carry_out(bed, Plan(plan.operations[:1]))
    observed = await bed.database(spec.name)
    assert (observed.allow_connections, observed.mark) == (False, None)
    desired = desired_database(
        spec, claimant=bed.claimant("Database"), observed=observed, server=bed.server
    )
    applied = await carry_out(bed, diff(desired, observed))
    assert applied.pending == ()
    assert await plan_database(bed, spec) == Plan()


async def test_observing_writes_nothing(bed: Bed) -> None:
    """PostgreSQL itself would refuse a write in these sessions."""
    await carry_out(bed, await plan_database(bed, database_spec(bed)))
    await carry_out(bed, await plan_role(bed, role_spec(bed)))
    async with (
        open_bed(bed.dsn) as fresh,
        fresh.connections.session(bed.name("shop")) as connection,
    ):
        await connection.execute("SET default_transaction_read_only TO on")
        database, role = await _observe_all(bed, connection)
    assert database.exists
    assert role.exists


async def _observe_all(
    bed: Bed, connection: Connection
) -> tuple[DatabaseState, RoleState]:
    database, role = bed.name("shop"), bed.name("app")
    await observe_server(connection)
    await observe_catalog(connection, wanted=everything(database, "app"))
    await observe_holdings(connection, role)
    await observe_dependencies(connection, [role])
    return (
        await observe_database(connection, database, keyring=bed.keyring),
        await observe_role(connection, role, keyring=bed.keyring),
    )


async def test_empty_plan_runs_no_statement(bed: Bed) -> None:
    await bed.connections.close()
    assert await carry_out(bed, Plan()) == Applied()
