"""Many writers of the same catalog rows, and applications that migrate meanwhile."""

import asyncio
import random

import psycopg
import pytest
from psycopg import conninfo

from pg_operator.plan.operations import CreateDatabase, CreateSchema
from pg_operator.plan.privileges import GrantPrivileges
from pg_operator.postgres.errors import ObjectInUse, Transient
from tests.integration.postgres_bed import Bed
from tests.unit.plan_examples import securables

TABLES = tuple(f"t{number}" for number in range(8))


@pytest.fixture
async def shop(bed: Bed) -> str:
    """A database with tables that are granted on and migrated at once."""
    name = bed.name("shop")
    await bed.create_database(name)
    await bed.apply(CreateSchema(name, "app"))
    tables = (f"CREATE TABLE app.{table} (id int)" for table in TABLES)
    await bed.execute(*tables, database=name)
    return name


async def grant(bed: Bed, role: str, database: str) -> None:
    """Grant a role what it has in common with all others."""
    on_database = securables("database", database, (database,))
    on_tables = securables("table", database, TABLES, "app")
    applied = await bed.apply(
        GrantPrivileges(role, on_database, ("CONNECT",)),
        GrantPrivileges(role, securables("schema", database, ("app",)), ("USAGE",)),
        GrantPrivileges(role, on_tables, ("SELECT", "INSERT")),
    )
    assert applied.pending == ()


async def migrate(dsn: str, *, until: asyncio.Event) -> int:
    """Change several tables a transaction, in any order, as migrations do."""
    order = random.Random(0)  # noqa: S311  # nothing to guess here
    done = 0
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with connection:
        while not until.is_set():
            async with connection.transaction():
                for table in order.sample(TABLES, 3):
                    column = f"c{done}_{table}"
                    await connection.execute(
                        f"ALTER TABLE app.{table} ADD {column} int"
                    )
                    await connection.execute(f"ALTER TABLE app.{table} DROP {column}")
            done += 1
    return done


async def test_hundred_roles_on_the_same_tables_and_a_migration_all_succeed(
    bed: Bed, shop: str
) -> None:
    """Neither meets "tuple concurrently updated", nor a deadlock."""
    ended = asyncio.Event()
    migrating = asyncio.create_task(
        migrate(conninfo.make_conninfo(bed.dsn, dbname=shop), until=ended)
    )
    roles = [bed.name(f"r{number}") for number in range(100)]

    async def declare(role: str) -> None:
        await bed.create_role(role)
        while True:  # as the queue does, which backs off for longer
            try:
                return await grant(bed, role, shop)
            except Transient:
                await asyncio.sleep(0.1)

    await asyncio.gather(*(declare(role) for role in roles))
    ended.set()
    assert await migrating > 0
    for role in roles:
        assert len(await bed.grants(role, database=shop)) == 1 + 2 * len(TABLES)


async def test_slow_copy_of_a_database_leaves_room_for_others(
    bed: Bed, shop: str
) -> None:
    """A template of a tenant's own may be huge, or busy: PostgreSQL waits 5 s then."""

    def copy(name: str) -> CreateDatabase:
        return CreateDatabase(bed.name(name), None, 7, template=shop)

    busy = await psycopg.AsyncConnection.connect(
        conninfo.make_conninfo(bed.dsn, dbname=shop)
    )
    async with busy:
        first = asyncio.create_task(bed.apply(copy("first")))
        await asyncio.sleep(0)  # the task's first step takes the place
        with pytest.raises(Transient, match="another database is being copied"):
            await bed.apply(copy("second"))
        await bed.apply(CreateDatabase(bed.name("plain"), None, 7))
        with pytest.raises(ObjectInUse):
            await first
    await bed.apply(copy("second"))
