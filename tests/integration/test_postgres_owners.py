"""Owners of databases and schemas, given by a login that is no superuser."""

from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterSchemaOwner,
    CreateSchema,
    MarkDatabase,
)
from pg_operator.plan.state import Mark
from pg_operator.postgres.observe import observe_catalog
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer


async def schema_owners(bed: Bed, database: str) -> dict[str, str]:
    async with bed.connections.session(database) as connection:
        catalog = await observe_catalog(connection)
    return {k: v for k, v in catalog.schema_owners.items() if k != "public"}


async def test_owner_changes_and_the_operator_can_still_do_its_work(bed: Bed) -> None:
    name, first, second = bed.name("db"), bed.name("first"), bed.name("second")
    await bed.create_database(name)
    for owner in (first, second):
        await bed.create_role(owner)
        applied = await bed.apply(
            AlterDatabaseOwner(name, owner), AlterDatabase(name, connection_limit=9)
        )
        assert applied.pending == ()
        assert (await bed.database(name)).owner == owner
    applied = await bed.apply(
        MarkDatabase(name, Mark(bed.claimant("Database"))), CreateSchema(name, "app")
    )
    assert applied.pending == ()


async def test_schema_changes_hands_and_its_owner_creates_in_it(bed: Bed) -> None:
    name, owner, heir = bed.name("db"), bed.name("owner"), bed.name("heir")
    await bed.create_database(name)
    for role in (owner, heir):
        await bed.create_role(role)
    await bed.grant(owner, "CONNECT", database=name)
    applied = await bed.apply(
        CreateSchema(name, "app"), AlterSchemaOwner(name, "app", owner)
    )
    assert applied.pending == ()
    async with bed.login(owner, name) as connection:
        await connection.execute("CREATE TABLE app.t (id int)")
    assert await schema_owners(bed, name) == {"app": owner}
    assert (await bed.apply(AlterSchemaOwner(name, "app", heir))).pending == ()
    assert await schema_owners(bed, name) == {"app": heir}


async def test_owner_that_the_login_cannot_become_is_pending_alone(
    bed: Bed, server: PostgresServer
) -> None:
    name, stranger = bed.name("db"), bed.name("stranger")
    await bed.create_database(name)
    await run_as_superuser(server.superuser_dsn, f"CREATE ROLE {stranger}")
    applied = await bed.apply(
        AlterDatabaseOwner(name, stranger),
        AlterDatabase(name, connection_limit=9),
        CreateSchema(name, "app"),
        AlterSchemaOwner(name, "app", stranger),
    )
    assert [part.path for part in applied.pending] == [
        f"{name}: owner",
        f"{name}.app: owner",
    ]
    assert "a member of that role" in applied.pending[0].message
    state = await bed.database(name)
    assert (state.owner, state.connection_limit) == (bed.server.login, 9)
    await run_as_superuser(
        server.superuser_dsn, f"GRANT {stranger} TO {bed.server.login}"
    )
    assert (await bed.apply(AlterDatabaseOwner(name, stranger))).pending == ()
