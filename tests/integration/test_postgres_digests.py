"""A digest changes with what a sweep is to notice, and with nothing else."""

from collections.abc import AsyncIterator, Callable

import pytest

from pg_operator.api.specs import Kind
from pg_operator.postgres.observe_digests import Digests, observe_digests
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer


@pytest.fixture
async def bed(server: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(server.admin_dsn) as bed:
        await bed.create_database(bed.name("db"))
        for role in ("app", "group"):
            await bed.create_role(bed.name(role))
        yield bed


async def digests(bed: Bed) -> Digests:
    async with bed.connections.session() as connection:
        everybodys = await observe_digests(connection)
    return {
        place: digest
        for place, digest in everybodys.items()
        if place[1].startswith(bed.prefix)
    }


async def changes(bed: Bed, before: Digests) -> set[tuple[Kind, str]]:
    """Return whose digest is another or gone, without the test's prefix."""
    now = await digests(bed)
    places = {place for place in before if before[place] != now.get(place)}
    return {(kind, name.removeprefix(f"{bed.prefix}_")) for kind, name in places}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE {app} NOLOGIN",
        "ALTER ROLE {app} CONNECTION LIMIT 3",
        "ALTER ROLE {app} SET work_mem = '8MB'",
        "ALTER ROLE {app} IN DATABASE {db} SET work_mem = '8MB'",
        "COMMENT ON ROLE {app} IS NULL",
        "GRANT {group} TO {app}",
        "DROP ROLE {app}",
    ],
)
async def test_change_of_a_role_is_told_of_that_role(bed: Bed, statement: str) -> None:
    before = await digests(bed)
    names = {word: bed.name(word) for word in ("app", "group", "db")}
    await bed.execute(statement.format(**names))
    assert await changes(bed, before) == {("DatabaseRole", "app")}


async def test_membership_that_somebody_revokes_is_told(bed: Bed) -> None:
    app, group = bed.name("app"), bed.name("group")
    await bed.execute(f"GRANT {group} TO {app}")
    before = await digests(bed)
    await bed.execute(f"REVOKE {group} FROM {app}")
    assert await changes(bed, before) == {("DatabaseRole", "app")}


async def test_loss_of_every_privilege_on_an_object_is_told(bed: Bed) -> None:
    """Though it happens in another database than the one that is asked."""
    app, database = bed.name("app"), bed.name("db")
    await bed.execute("CREATE SCHEMA shop", database=database)
    await bed.execute(f"GRANT USAGE ON SCHEMA shop TO {app}", database=database)
    before = await digests(bed)
    await bed.execute("DROP SCHEMA shop", database=database)
    assert ("DatabaseRole", "app") in await changes(bed, before)


@pytest.mark.parametrize(
    "statement", ["DROP SCHEMA shop", "ALTER SCHEMA shop OWNER TO {app}"]
)
async def test_change_of_a_schema_is_told_of_its_database(
    bed: Bed, server: PostgresServer, statement: str
) -> None:
    database = bed.name("db")
    await bed.execute("CREATE SCHEMA shop", database=database)
    before = await digests(bed)
    await run_as_superuser(
        server.superuser_dsn, statement.format(app=bed.name("app")), database=database
    )
    assert await changes(bed, before) == {("Database", "db")}


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT CONNECT ON DATABASE {db} TO PUBLIC",
        "ALTER DATABASE {db} CONNECTION LIMIT 3",
        "ALTER DATABASE {db} SET timezone = 'UTC'",
        "COMMENT ON DATABASE {db} IS NULL",
        "DROP DATABASE {db}",
    ],
)
async def test_change_of_a_database_is_told_of_that_database(
    bed: Bed, statement: str
) -> None:
    before = await digests(bed)
    await bed.execute(statement.format(db=bed.name("db")))
    assert await changes(bed, before) == {("Database", "db")}


def password(bed: Bed) -> list[str]:
    return [f"ALTER ROLE {bed.name('app')} PASSWORD 'another one'"]


def tables(bed: Bed) -> list[str]:
    return [f"SET ROLE {bed.name('app')}", "CREATE TABLE theirs.orders ()"]


@pytest.mark.parametrize("work", [password, tables])
async def test_what_applications_do_is_no_change(
    bed: Bed, server: PostgresServer, work: Callable[[Bed], list[str]]
) -> None:
    database, app = bed.name("db"), bed.name("app")
    schema = f"CREATE SCHEMA theirs AUTHORIZATION {app}"
    await run_as_superuser(server.superuser_dsn, schema, database=database)
    before = await digests(bed)
    await run_as_superuser(server.superuser_dsn, *work(bed), database=database)
    assert await changes(bed, before) == set()


async def test_looking_takes_no_transaction_id(bed: Bed) -> None:
    async with bed.connections.session() as connection, connection.transaction():
        await observe_digests(connection)
        cursor = await connection.execute(
            "SELECT pg_current_xact_id_if_assigned() IS NULL"
        )
        assert await cursor.fetchone() == (True,)
