"""What tenants and others try on a real server, and that it has no effect."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg import errors

from pg_operator.plan.operations import MarkDatabase, MarkRole
from pg_operator.plan.state import Claimant, Mark, UnverifiedMark
from pg_operator.postgres.errors import DatabaseRefused
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe import observe_catalog, observe_role
from tests.integration.postgres_bed import Bed, evil_aclexplode, open_bed
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import everything, securables


@pytest.fixture
async def bed(server: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(server.admin_dsn) as bed:
        yield bed


@pytest.fixture
async def theirs(bed: Bed) -> tuple[str, str]:
    """A database that a tenant's role owns, and that role."""
    database, tenant = bed.name("theirs"), bed.name("tenant")
    await bed.create_database(database)
    await bed.create_role(tenant)
    await bed.execute(f"ALTER DATABASE {database} OWNER TO {tenant}")
    await bed.grant(tenant, "CONNECT", database=database)
    return database, tenant


@pytest.mark.parametrize(
    "setting",
    [
        "search_path = evil, pg_catalog",
        "role = {tenant}",
        "local_preload_libraries = 'nothing'",
        "default_transaction_read_only = on",
        "statement_timeout = 1",
        "client_encoding = 'SJIS'",
        "client_min_messages = error",
        "standard_conforming_strings = off",
        "default_transaction_isolation = serializable",
        "datestyle = 'German'",
        "lock_timeout = 1",
    ],
)
async def test_setting_of_a_database_owner_does_not_reach_us(
    bed: Bed, theirs: tuple[str, str], setting: str
) -> None:
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        await connection.execute(
            f"ALTER DATABASE {database} SET {setting.format(tenant=tenant)}"
        )
    async with bed.connections.session(database) as ours:
        cursor = await ours.execute(
            "SELECT current_user::text, current_setting('search_path'),"
            " current_setting('default_transaction_read_only'),"
            " current_setting('statement_timeout'), current_setting('lock_timeout'),"
            " current_setting('client_encoding'),"
            " current_setting('client_min_messages'),"
            " current_setting('standard_conforming_strings'),"
            " current_setting('transaction_isolation'), current_setting('datestyle')"
        )
        assert await cursor.fetchone() == (
            bed.server.login,
            "pg_catalog, pg_temp",
            "off",
            "30s",
            "5s",
            "UTF8",
            "notice",
            "on",
            "read committed",
            "ISO, MDY",
        )


async def test_functions_of_a_database_owner_are_never_called(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        for statement in (
            "CREATE SCHEMA evil",
            "CREATE TABLE evil.calls (who text)",
            "GRANT USAGE ON SCHEMA evil TO PUBLIC",
            "GRANT INSERT ON evil.calls TO PUBLIC",
            evil_aclexplode("INSERT INTO evil.calls VALUES (current_user)"),
            f"ALTER DATABASE {database} SET search_path = evil, pg_catalog",
        ):
            await connection.execute(statement)
    await bed.grant(tenant, "USAGE", database=database, schema="evil")
    await bed.grants(tenant, database=database)
    async with bed.connections.session(database) as ours:
        await observe_catalog(ours, wanted=everything(database, "evil"))
        cursor = await ours.execute("SELECT count(*) FROM evil.calls")
        assert await cursor.fetchone() == (0,)


async def test_database_that_its_owner_closed_is_refused_by_name_of_the_problem(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, _ = theirs
    await bed.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    with pytest.raises(DatabaseRefused, match="does not accept connections"):
        async with bed.connections.session(database):
            pass


async def test_names_with_quotes_and_statements_in_them_stay_names(bed: Bed) -> None:
    database = bed.name("shop")
    table = 'x"; DROP TABLE app.kept; --'
    role = bed.name("app")
    await bed.create_database(database)
    await bed.create_role(role)
    quoted = table.replace('"', '""')
    await bed.execute(
        "CREATE SCHEMA app",
        "CREATE TABLE app.kept (id int)",
        f'CREATE TABLE app."{quoted}" (id int)',
        database=database,
    )
    applied = await bed.grant(
        role, "SELECT", database=database, schema="app", table=table
    )
    assert applied.pending == ()
    async with bed.connections.session(database) as connection:
        catalog = await observe_catalog(connection, wanted=everything(database, "app"))
    assert catalog.objects == set(securables("table", database, ("kept", table), "app"))


async def test_mark_copied_to_another_role_is_unverified(bed: Bed) -> None:
    mine, copy = bed.name("mine"), bed.name("copy")
    await bed.create_role(mine)
    await bed.create_role(copy)
    comment = await _comment(bed, mine)
    await bed.execute(f"COMMENT ON ROLE {copy} IS '{comment}'")
    assert (await bed.role(copy)).mark == UnverifiedMark()
    assert isinstance((await bed.role(mine)).mark, Mark)


async def test_mark_that_was_changed_is_unverified(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    comment = await _comment(bed, role)
    await bed.execute(f"COMMENT ON ROLE {role} IS '{comment[:-6]}AAAA=='")
    state = await bed.role(role)
    assert (state.mark, state.comment) == (UnverifiedMark(), None)


async def test_mark_of_an_unknown_key_is_unverified(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    other = Keyring.from_secret(Keyring.generate())
    async with bed.connections.session() as connection:
        state = await observe_role(connection, role, keyring=other)
    assert state.mark == UnverifiedMark()


async def test_mark_shows_nothing_of_its_object_to_other_roles(bed: Bed) -> None:
    database, role = bed.name("db"), bed.name("reader")
    await bed.create_database(database)
    await bed.create_role(role)
    claimant = Claimant("owner-id", "Database", "team-secret", "uid-secret", "orders")
    await bed.apply(MarkDatabase(database, Mark(claimant)))
    async with bed.login(role, "postgres") as connection:
        cursor = await connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = %s",
            (database,),
        )
        ((comment,),) = await cursor.fetchall()
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute(f"COMMENT ON DATABASE {database} IS 'mine'")
    assert comment.startswith("managed by pg-operator; do not edit")
    assert "secret" not in comment


async def test_concurrent_marks_of_one_role_leave_one_valid_mark(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    marks = [
        Mark(bed.claimant("DatabaseRole", f"object-{number}")) for number in range(8)
    ]
    await asyncio.gather(*(bed.apply(MarkRole(role, mark)) for mark in marks))
    assert (await bed.role(role)).mark in marks


async def _comment(bed: Bed, role: str) -> str:
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT pg_catalog.shobj_description(%s::regrole, 'pg_authid')", (role,)
        )
        ((comment,),) = await cursor.fetchall()
    return str(comment)
