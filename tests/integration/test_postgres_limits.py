"""What a server refuses or loses silently, and that we say so instead."""

import psycopg
import pytest
from psycopg import conninfo

from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import (
    CreateSchema,
    DropDatabase,
    RevokePublicOnSchema,
)
from pg_operator.postgres.applied import NOT_EFFECTIVE
from pg_operator.postgres.errors import DatabaseRefused
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_dependencies import (
    observe_dependencies,
    observe_drop_blockers,
)
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer


@pytest.fixture
async def shop(bed: Bed) -> str:
    """A database with a table in schema `app`."""
    name = bed.name("shop")
    await bed.create_database(name)
    await bed.apply(CreateSchema(name, "app"))
    await bed.execute("CREATE TABLE app.orders (id int)", database=name)
    return name


async def test_database_is_created_while_somebody_is_in_template1(
    bed: Bed, server: PostgresServer
) -> None:
    """PostgreSQL would wait five seconds for them, and then fail."""
    template1 = conninfo.make_conninfo(server.superuser_dsn, dbname="template1")
    async with await psycopg.AsyncConnection.connect(template1) as connection:
        await connection.execute("SELECT 1")
        await bed.create_database(bed.name("db"))
    assert (await bed.database(bed.name("db"))).allow_connections is True


async def test_schema_public_that_is_not_ours_to_close_is_said_to_be_open(
    bed: Bed, shop: str
) -> None:
    """Up to PostgreSQL 14 it is the superuser's, and everybody may create in it."""
    is_open = bed.server.version_number < 150000
    async with bed.connections.session(shop) as connection:
        catalog = await observe_catalog(connection)
    assert catalog.public_schema_open is is_open
    applied = await bed.apply(RevokePublicOnSchema(shop, "public"))
    assert [pending.reason for pending in applied.pending] == [NOT_EFFECTIVE] * is_open


async def test_privilege_on_a_parameter_does_not_keep_a_role_from_being_observed(
    bed: Bed, shop: str, server: PostgresServer
) -> None:
    if bed.server.version_number < 150000:
        pytest.skip("privileges on parameters came with PostgreSQL 15")
    role = bed.name("app")
    await bed.create_role(role)
    await bed.grant(role, "SELECT", database=shop, schema="app", table="orders")
    on_parameter = "SET ON PARAMETER log_error_verbosity"
    await run_as_superuser(server.superuser_dsn, f"GRANT {on_parameter} TO {role}")
    orders = Securable("table", shop, "app", "orders")
    assert await bed.grants(role, database=shop) == {Grant(orders, "SELECT")}
    async with bed.connections.session() as connection:
        dependencies = await observe_dependencies(connection, [role])
        assert dependencies[role].granted_in >= {shop}
    # The operator's login is a member of the role.
    await run_as_superuser(server.superuser_dsn, f"REVOKE {on_parameter} FROM {role}")


@pytest.mark.slow
async def test_table_with_too_many_grantees_is_pending_and_says_what_to_do(
    bed: Bed, shop: str, server: PostgresServer
) -> None:
    """The privileges on a table are one row, which must fit into a page."""
    role, many = bed.name("late"), bed.name("many")
    await bed.create_role(role)
    await run_as_superuser(
        server.superuser_dsn,
        "DO $$ BEGIN"
        " FOR number IN 1..3000 LOOP"
        f"  EXECUTE format('CREATE ROLE {many}_%s', number);"
        " END LOOP; END $$",
        "DO $$ BEGIN"
        " FOR number IN 1..3000 LOOP BEGIN"
        f"  EXECUTE format('GRANT SELECT ON app.orders TO {many}_%s', number);"
        " EXCEPTION WHEN program_limit_exceeded THEN EXIT; END;"
        " END LOOP; END $$",
        database=shop,
    )
    applied = await bed.grant(
        role, "SELECT", database=shop, schema="app", table="orders"
    )
    (pending,) = applied.pending
    assert pending.path == f"{shop}.app.orders"
    assert "members of one role" in pending.message


async def test_what_would_be_lost_with_a_database_is_said(
    bed: Bed, shop: str, server: PostgresServer
) -> None:
    """PostgreSQL drops a slot that nobody reads at the moment without a word."""
    slot = bed.name("slot")
    await run_as_superuser(
        server.superuser_dsn,
        f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        "BEGIN",
        "CREATE TABLE app.later (id int)",
        f"PREPARE TRANSACTION '{slot}'",
        database=shop,
    )
    async with bed.connections.session() as connection:
        prepared, slots, *_ = await observe_drop_blockers(connection, shop)
    assert prepared.startswith("prepared transactions: 1;")
    assert slots.startswith("logical replication slots: 1;")
    await run_as_superuser(
        server.superuser_dsn,
        f"SELECT pg_drop_replication_slot('{slot}')",
        f"ROLLBACK PREPARED '{slot}'",
        database=shop,
    )


async def test_half_dropped_database_is_named_as_such_and_can_be_dropped(
    bed: Bed, shop: str, server: PostgresServer
) -> None:
    """DROP DATABASE that a crash interrupts leaves a limit of -2 behind."""
    await bed.connections.discard(shop)
    await run_as_superuser(
        server.superuser_dsn,
        f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{shop}'",
    )
    assert (await bed.database(shop)).connection_limit == -2
    with pytest.raises(DatabaseRefused, match="interrupted DROP DATABASE"):
        async with bed.connections.session(shop):
            pass
    await bed.apply(DropDatabase(shop))
    assert not (await bed.database(shop)).exists
