"""Grants on a real server, tried by logging in as the role."""

import asyncio

import psycopg
import pytest
from psycopg import errors

from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import (
    CreateSchema,
    MarkRole,
    RevokePublicOnSchema,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import Mark
from pg_operator.postgres.applied import NOT_EFFECTIVE
from pg_operator.postgres.errors import Transient
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import securables


@pytest.fixture
async def shop(bed: Bed) -> str:
    """A database with a schema `app` and two tables in it."""
    name = bed.name("shop")
    await bed.create_database(name)
    await bed.apply(CreateSchema(name, "app"))
    await bed.execute(
        "CREATE TABLE app.orders (id int)",
        'CREATE TABLE app."Line; Items" (id int)',
        database=name,
    )
    return name


@pytest.fixture
async def reader(bed: Bed, shop: str) -> str:
    """A role that may enter the database and use its schema."""
    role = bed.name("reader")
    await bed.create_role(role)
    await bed.grant(role, "CONNECT", database=shop)
    await bed.grant(role, "USAGE", database=shop, schema="app")
    return role


async def test_role_can_do_what_is_granted_and_nothing_else(
    bed: Bed, shop: str, reader: str
) -> None:
    await bed.grant(
        reader, "SELECT", "INSERT", database=shop, schema="app", table="orders"
    )
    async with bed.login(reader, shop) as connection:
        await connection.execute("INSERT INTO app.orders VALUES (1)")
        await connection.execute("SELECT id FROM app.orders")
        for denied in (
            "DELETE FROM app.orders",
            'SELECT * FROM app."Line; Items"',
            "CREATE TABLE app.mine (id int)",
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine (id int)",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                await connection.execute(denied)


async def test_revoked_privilege_is_gone_and_the_others_stay(
    bed: Bed, shop: str, reader: str
) -> None:
    await bed.grant(
        reader, "SELECT", "INSERT", database=shop, schema="app", table="orders"
    )
    applied = await bed.apply(
        RevokePrivileges(
            reader, securables("table", shop, ("orders",), "app"), ("INSERT",)
        )
    )
    assert applied.pending == ()
    async with bed.login(reader, shop) as connection:
        await connection.execute("SELECT id FROM app.orders")
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("INSERT INTO app.orders VALUES (1)")


async def test_revoked_connect_keeps_the_role_out(
    bed: Bed, shop: str, reader: str
) -> None:
    await bed.apply(
        RevokePrivileges(reader, securables("database", shop, (shop,)), ("CONNECT",))
    )
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        async with bed.login(reader, shop):
            pass


async def test_observed_grants_are_those_made(bed: Bed, shop: str, reader: str) -> None:
    await bed.apply(
        GrantPrivileges(
            reader,
            securables("table", shop, ("Line; Items", "orders"), "app"),
            ("SELECT",),
        )
    )
    assert (await bed.role(reader)).grants == {
        Grant(Securable("database", shop), "CONNECT")
    }
    assert await bed.grants(reader, database=shop) == {
        Grant(Securable("schema", shop, "app"), "USAGE"),
        Grant(Securable("table", shop, "app", "orders"), "SELECT"),
        Grant(Securable("table", shop, "app", "Line; Items"), "SELECT"),
    }


async def test_inherited_and_public_privileges_are_not_the_roles_own(
    bed: Bed, shop: str, reader: str
) -> None:
    group = bed.name("group")
    await bed.create_role(group, login=False)
    await bed.grant(group, "SELECT", database=shop, schema="app", table="orders")
    await bed.execute(f"GRANT {group} TO {reader}")
    await bed.execute("GRANT INSERT ON app.orders TO PUBLIC", database=shop)
    assert await bed.grants(reader, database=shop) == {
        Grant(Securable("schema", shop, "app"), "USAGE")
    }


async def test_table_of_another_managed_role_can_be_granted_on(
    bed: Bed, shop: str, reader: str
) -> None:
    """The operator is a member of the roles it makes, so it acts as their owner."""
    writer = bed.name("writer")
    await bed.create_role(writer)
    await bed.grant(writer, "CONNECT", database=shop)
    await bed.grant(writer, "USAGE", "CREATE", database=shop, schema="app")
    async with bed.login(writer, shop) as connection:
        await connection.execute("CREATE TABLE app.theirs AS SELECT 1 AS one")
    applied = await bed.grant(
        reader, "SELECT", database=shop, schema="app", table="theirs"
    )
    assert applied.pending == ()
    async with bed.login(reader, shop) as connection:
        cursor = await connection.execute("SELECT one FROM app.theirs")
        assert await cursor.fetchone() == (1,)
    revoke = RevokePrivileges(
        reader, securables("table", shop, ("theirs",), "app"), ("SELECT",)
    )
    assert (await bed.apply(revoke)).pending == ()
    async with bed.login(reader, shop) as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("SELECT one FROM app.theirs")


async def test_foreign_table_is_pending_and_the_rest_is_granted(
    bed: Bed, shop: str, reader: str, server: PostgresServer
) -> None:
    await run_as_superuser(
        server.superuser_dsn, "CREATE TABLE app.foreign_one (id int)", database=shop
    )
    applied = await bed.apply(
        GrantPrivileges(
            reader,
            securables("table", shop, ("Line; Items", "foreign_one", "orders"), "app"),
            ("SELECT",),
        )
    )
    (pending,) = applied.pending
    assert pending.path == f"{shop}.app.foreign_one"
    assert pending.reason == "MissingPrivilege"
    tables = {g.on.name for g in await bed.grants(reader, database=shop)}
    assert tables == {"", "Line; Items", "orders"}


async def test_missing_table_is_pending_and_the_rest_is_granted(
    bed: Bed, shop: str, reader: str
) -> None:
    applied = await bed.apply(
        GrantPrivileges(
            reader, securables("table", shop, ("dropped", "orders"), "app"), ("SELECT",)
        )
    )
    assert [(p.path, p.reason) for p in applied.pending] == [
        (f"{shop}.app.dropped", "NotFound")
    ]
    tables = {grant.on.name for grant in await bed.grants(reader, database=shop)}
    assert tables == {"", "orders"}


async def test_grant_that_only_warns_is_pending(
    bed: Bed, shop: str, reader: str, server: PostgresServer
) -> None:
    """A login with some right but no grant option is warned, not refused."""
    await run_as_superuser(
        server.superuser_dsn,
        "CREATE TABLE app.half (id int)",
        f"GRANT INSERT ON app.half TO {bed.server.login}",
        f"GRANT SELECT ON app.half TO {bed.server.login} WITH GRANT OPTION",
        database=shop,
    )
    applied = await bed.grant(
        reader, "INSERT", "SELECT", database=shop, schema="app", table="half"
    )
    (pending,) = applied.pending
    assert (pending.path, pending.reason) == (f"{shop}.app.half", NOT_EFFECTIVE)
    assert pending.message.startswith("INSERT on ")
    half = Securable("table", shop, "app", "half")
    assert Grant(half, "SELECT") in await bed.grants(reader, database=shop)


async def test_revoke_of_what_another_granted_is_pending_and_stays_on_record(
    bed: Bed, shop: str, reader: str, server: PostgresServer
) -> None:
    """PostgreSQL says nothing at all when the grantor was someone else."""
    other = bed.name("other")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {other}",
        f"GRANT USAGE ON SCHEMA app TO {other}",
        f"GRANT SELECT ON app.orders TO {other} WITH GRANT OPTION",
        f"SET ROLE {other}",
        f"GRANT SELECT ON app.orders TO {reader}",
        database=shop,
    )
    orders = Securable("table", shop, "app", "orders")
    mark = Mark(bed.claimant("DatabaseRole"))
    fallback = Mark(mark.claimant, scope=frozenset({Grant(orders, "SELECT")}))
    applied = await bed.apply(
        RevokePrivileges(
            reader, securables("table", shop, ("orders",), "app"), ("SELECT",)
        ),
        MarkRole(reader, mark, fallback=fallback),
    )
    (pending,) = applied.pending
    assert (pending.path, pending.reason) == (str(orders), NOT_EFFECTIVE)
    assert other not in pending.message
    assert (await bed.role(reader)).mark == fallback


async def test_privilege_on_a_database_that_another_granted_stays_on_record(
    bed: Bed, shop: str, reader: str, server: PostgresServer
) -> None:
    """Its REVOKE and the mark share a transaction, and the mark comes last."""
    other = bed.name("other")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {other}",
        f"GRANT TEMPORARY ON DATABASE {shop} TO {other} WITH GRANT OPTION",
        f"SET ROLE {other}",
        f"GRANT TEMPORARY ON DATABASE {shop} TO {reader}",
    )
    (database,) = securables("database", shop, (shop,))
    mark = Mark(bed.claimant("DatabaseRole"))
    fallback = Mark(mark.claimant, scope=frozenset({Grant(database, "TEMPORARY")}))
    applied = await bed.apply(
        RevokePrivileges(reader, (database,), ("TEMPORARY",)),
        MarkRole(reader, mark, fallback=fallback),
    )
    assert [pending.reason for pending in applied.pending] == [NOT_EFFECTIVE]
    assert (await bed.role(reader)).mark == fallback


async def test_mark_after_effective_revokes_is_the_new_one(
    bed: Bed, shop: str, reader: str
) -> None:
    mark = Mark(bed.claimant("DatabaseRole"))
    fallback = Mark(mark.claimant, password="kept")
    applied = await bed.apply(
        RevokePrivileges(reader, securables("schema", shop, ("app",)), ("USAGE",)),
        MarkRole(reader, mark, fallback=fallback),
    )
    assert applied.pending == ()
    assert (await bed.role(reader)).mark == mark


async def test_public_schema_that_is_not_ours_is_pending(
    bed: Bed, shop: str, server: PostgresServer
) -> None:
    await run_as_superuser(
        server.superuser_dsn,
        "CREATE SCHEMA theirs",
        f"GRANT USAGE ON SCHEMA theirs TO {bed.server.login}",
        "GRANT CREATE ON SCHEMA theirs TO PUBLIC",
        database=shop,
    )
    applied = await bed.apply(RevokePublicOnSchema(shop, "theirs"))
    assert [(p.path, p.reason) for p in applied.pending] == [
        (f"{shop}.theirs", NOT_EFFECTIVE)
    ]


async def test_thirty_roles_granted_on_the_same_tables_at_once_all_succeed(
    bed: Bed, shop: str
) -> None:
    """Without the lock, half of these end in "tuple concurrently updated"."""
    roles = [bed.name(f"r{number}") for number in range(30)]
    for role in roles:
        await bed.create_role(role)

    async def grant(role: str) -> None:
        tables = ("Line; Items", "orders")
        applied = await bed.apply(
            GrantPrivileges(role, securables("database", shop, (shop,)), ("CONNECT",)),
            GrantPrivileges(role, securables("schema", shop, ("app",)), ("USAGE",)),
            GrantPrivileges(
                role, securables("table", shop, tables, "app"), ("SELECT",)
            ),
        )
        assert applied.pending == ()

    await asyncio.gather(*map(grant, roles))
    for role in roles:
        assert len(await bed.grants(role, database=shop)) == 3


async def test_batch_that_loses_a_race_is_repeated(
    bed: Bed, shop: str, reader: str
) -> None:
    """A migration of the application that changes the table at the same moment."""
    orders = Securable("table", shop, "app", "orders")
    async with bed.login(bed.server.login, shop, password=_password(bed)) as migration:
        await migration.execute("BEGIN")
        await migration.execute("GRANT SELECT ON app.orders TO PUBLIC")
        granting = asyncio.create_task(
            bed.grant(reader, "SELECT", database=shop, schema="app", table="orders")
        )
        await _wait_for_waiting_session(bed)
        await migration.execute("COMMIT")
        assert (await granting).pending == ()
    assert Grant(orders, "SELECT") in await bed.grants(reader, database=shop)


@pytest.mark.slow
async def test_revoke_does_not_wait_for_what_a_grant_waits_for(
    bed: Bed, shop: str, reader: str
) -> None:
    """A lock that is not let go ends as an error, after the revoke has committed."""
    items = "Line; Items"
    await bed.grant(reader, "SELECT", database=shop, schema="app", table=items)
    async with bed.login(bed.server.login, shop, password=_password(bed)) as migration:
        await migration.execute("BEGIN")
        await migration.execute("GRANT SELECT ON app.orders TO PUBLIC")
        with pytest.raises(Transient):
            await bed.apply(
                RevokePrivileges(
                    reader, securables("table", shop, (items,), "app"), ("SELECT",)
                ),
                GrantPrivileges(
                    reader, securables("table", shop, ("orders",), "app"), ("SELECT",)
                ),
            )
    tables = {grant.on.name for grant in await bed.grants(reader, database=shop)}
    assert tables == {""}


async def _wait_for_waiting_session(bed: Bed) -> None:
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND application_name = 'pg-operator')"
    )
    while True:
        async with bed.connections.session() as connection:
            cursor = await connection.execute(waiting)
            if await cursor.fetchone() == (True,):
                return


def _password(bed: Bed) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(bed.dsn)["password"])
