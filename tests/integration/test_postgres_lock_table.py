"""A server whose lock table is too small for what a role has, in one transaction."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import psycopg
import pytest
from psycopg import conninfo, sql

from pg_operator.plan.deletion import deletion_role
from pg_operator.plan.grants import Securable
from pg_operator.plan.operations import CreateSchema, ReassignOwned
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.apply import PIECE, apply
from pg_operator.postgres.observe_dependencies import (
    observe_dependencies,
    observe_homes,
)
from tests.integration.postgres_bed import Bed, open_bed, running_server
from tests.localcluster.postgres import PostgresOptions, PostgresServer

# Room for a few hundred locks in all.
SMALL: Final = {
    "max_locks_per_transaction": "10",
    "max_connections": "20",
    "max_worker_processes": "2",
    "autovacuum": "off",
    "autovacuum_max_workers": "1",
    "max_wal_senders": "0",
}
MANY: Final = 1000
MANY_WITH_FIVE: Final = 250  # tables with a key, a sequence, and TOAST with an index


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    with running_server(PostgresOptions(settings=SMALL)) as server:
        yield server


@pytest.fixture
async def bed(small_server: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(small_server.admin_dsn) as bed:
        yield bed


@pytest.fixture
async def shop(bed: Bed) -> str:
    """A database with a schema in which a role `app` may create."""
    name, role = bed.name("shop"), bed.name("app")
    await bed.create_database(name)
    await bed.create_role(role)
    await bed.apply(CreateSchema(name, "Odd app"))
    await bed.grant(role, "CONNECT", database=name)
    await bed.grant(role, "USAGE", "CREATE", database=name, schema="Odd app")
    return name


async def make_many(
    bed: Bed, database: str, statement: str, *, role: str, number: int = MANY
) -> None:
    """Run a statement as a role, with every number for `%1$s`, a few at a time."""
    target = conninfo.make_conninfo(bed.dsn, dbname=database)
    connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
    async with connection:
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        await connection.execute(
            sql.SQL(
                "DO $$ BEGIN FOR number IN 1..{} LOOP EXECUTE format({}, number);"
                " IF number % 20 = 0 THEN COMMIT; END IF; END LOOP; END $$"
            ).format(number, statement)
        )


async def delete(bed: Bed, role: str, database: str) -> Applied:
    """Delete a role as its object's deletion does."""
    async with bed.connections.session() as connection:
        dependencies = await observe_dependencies(connection, [role])
    async with bed.connections.session(database) as connection:
        homes = await observe_homes(connection, role)
    plan = deletion_role(
        await bed.role(role),
        policy="Delete",
        dependencies=dependencies[role],
        heir=await bed.role(bed.name("heir")),
        homes={database: homes},
    )
    return await apply(
        plan, server=bed.server, connections=bed.connections, keyring=bed.keyring
    )


async def count(bed: Bed, database: str, query: str) -> int:
    async with bed.connections.session(database) as connection:
        cursor = await connection.execute(sql.SQL(query))
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def runs_out_of_locks(bed: Bed, database: str, statement: str) -> bool:
    """Tell whether the lock table is too small for a statement; it is undone."""
    target = conninfo.make_conninfo(bed.dsn, dbname=database)
    async with await psycopg.AsyncConnection.connect(target) as connection:
        try:
            await connection.execute(statement.encode())
        except psycopg.errors.OutOfMemory:
            return True
        finally:
            await connection.rollback()
    return False


async def test_role_that_owns_more_than_can_be_locked_at_once_is_dropped(
    bed: Bed, shop: str
) -> None:
    role, heir = bed.name("app"), bed.name("heir")
    tables = 'CREATE TABLE "Odd app"."Table %1$s" (id serial PRIMARY KEY, name text)'
    await make_many(bed, shop, tables, role=role, number=MANY_WITH_FIVE)
    async with bed.login(role, shop) as connection:
        for statement in (
            'CREATE SEQUENCE "Odd app".numbers',
            'CREATE SEQUENCE "Odd app"."A" OWNED BY "Odd app"."Table 1".id',
            'CREATE VIEW "Odd app".seen AS SELECT 1 AS one',
            'CREATE MATERIALIZED VIEW "Odd app".kept AS SELECT 1 AS one',
            'CREATE TABLE "Odd app".parts (id int) PARTITION BY RANGE (id)',
            'CREATE TABLE "Odd app".part PARTITION OF "Odd app".parts DEFAULT',
            'CREATE TYPE "Odd app".pair AS (one int, two int)',
            "CREATE TYPE \"Odd app\".word AS ENUM ('a')",
            "CREATE FUNCTION \"Odd app\".one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ):
            await connection.execute(statement.encode())
    statement = f"REASSIGN OWNED BY {role} TO {bed.server.login}"
    assert await runs_out_of_locks(bed, shop, statement)

    applied = await delete(bed, role, shop)

    assert applied.pending == ()
    assert not (await bed.role(role)).exists
    owned = "SELECT count(*) FROM pg_catalog.pg_class WHERE relowner = '{}'::regrole"
    assert await count(bed, shop, owned.format(heir)) > 5 * MANY_WITH_FIVE
    for catalog, owner, name in (
        ("pg_type", "typowner", "typname = 'pair'"),
        ("pg_type", "typowner", "typname = 'word'"),
        ("pg_proc", "proowner", "proname = 'one'"),
    ):
        query = f"SELECT count(*) FROM {catalog} WHERE {owner} = '{heir}'::regrole"
        assert await count(bed, shop, f"{query} AND {name}") == 1


async def test_successor_gets_more_than_can_be_locked_where_it_may_not_create(
    bed: Bed, shop: str
) -> None:
    """ALTER TABLE would ask for CREATE on the schema; REASSIGN OWNED does not."""
    role, successor = bed.name("app"), bed.name("successor")
    await bed.create_role(successor)
    await make_many(bed, shop, 'CREATE TABLE "Odd app".t%1$s ()', role=role)
    statement = f"REASSIGN OWNED BY {role} TO {successor}"
    assert await runs_out_of_locks(bed, shop, statement)

    applied = await bed.apply(ReassignOwned(shop, role, successor))

    assert applied.pending == ()
    owned = "SELECT count(*) FROM pg_catalog.pg_class WHERE relowner = '{}'::regrole"
    assert await count(bed, shop, owned.format(successor)) == MANY
    may = "SELECT has_schema_privilege('{}', 'Odd app', 'CREATE')::int"
    assert await count(bed, shop, may.format(successor)) == 0


async def test_role_that_more_policies_name_than_can_be_locked_is_dropped(
    bed: Bed, shop: str
) -> None:
    role, other = bed.name("app"), bed.name("other")
    await bed.execute(f"CREATE ROLE {other}")
    for statement in (
        'CREATE TABLE "Odd app".t%1$s (id int)',
        f'GRANT SELECT ON "Odd app".t%1$s TO {role}',
        f'CREATE POLICY "p %1$s" ON "Odd app".t%1$s TO {role}',
    ):
        await make_many(bed, shop, statement, role=bed.server.login)
    shared = f'CREATE POLICY shared ON "Odd app".t1 TO {role}, {other}'
    await bed.execute(shared, database=shop)
    assert await runs_out_of_locks(bed, shop, f"DROP OWNED BY {role}")

    applied = await delete(bed, role, shop)

    assert applied.pending == ()
    assert not (await bed.role(role)).exists
    policies = "SELECT count(*) FROM pg_catalog.pg_policies"
    assert await count(bed, shop, policies) == 1
    kept = f"{policies} WHERE policyname = 'shared' AND roles = ARRAY['{other}'::name]"
    assert await count(bed, shop, kept) == 1


@pytest.mark.parametrize("piece", [PIECE, 10 * PIECE])
async def test_privileges_on_more_than_can_be_locked_come_and_go(
    bed: Bed, shop: str, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Also where there is no room for the pieces that it begins with."""
    monkeypatch.setattr("pg_operator.postgres.apply.PIECE", piece)
    role = bed.name("app")
    statement = 'CREATE TABLE "Odd app".t%1$s (id int, name text)'
    await make_many(bed, shop, statement, role=bed.server.login)
    tables = tuple(
        Securable("table", shop, "Odd app", f"t{number}")
        for number in range(1, MANY + 1)
    )
    halves = tables[:600], tables[600:]
    held = await bed.grants(role, database=shop)
    column = Securable("column", shop, "Odd app", "t1", "name")

    granted = await bed.apply(
        *(GrantPrivileges(role, half, ("SELECT", "INSERT")) for half in halves),
        GrantPrivileges(role, (column,), ("UPDATE",)),
    )

    assert (granted.pending, granted.ungranted) == ((), frozenset())
    grants = await bed.grants(role, database=shop) - held
    assert len(grants) == 2 * MANY + 1

    # The table's REVOKE takes the column's privilege along, which then comes back.
    revoked = await bed.apply(
        *(RevokePrivileges(role, half, ("SELECT", "INSERT")) for half in halves),
        RevokePrivileges(role, tables[:1], ("UPDATE",)),
        GrantPrivileges(role, (column,), ("UPDATE",)),
    )

    assert (revoked.pending, revoked.revokes_undone) == ((), False)
    (left,) = await bed.grants(role, database=shop) - held
    assert (left.on, left.privilege) == (column, "UPDATE")
