"""Databases on a real server: made, marked, closed to PUBLIC, dropped."""

import asyncio

import psycopg
import pytest

from pg_operator.plan.operations import (
    AlterDatabase,
    CreateDatabase,
    CreateSchema,
    DropDatabase,
    MarkDatabase,
    SetDatabaseParameter,
)
from pg_operator.plan.policies import Ownership, ownership, sentinel
from pg_operator.plan.state import DatabaseState, Mark
from pg_operator.postgres.errors import (
    AlreadyExistsNow,
    DatabaseRefused,
    Rejected,
)
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_dependencies import observe_drop_blockers
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import everything, securables


async def test_database_that_is_absent_is_observed_as_such(bed: Bed) -> None:
    name = bed.name("absent")
    assert await bed.database(name) == DatabaseState(name, exists=False, mark=None)


async def test_created_database_is_open_marked_and_closed_to_public(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    state = await bed.database(name)
    assert state.mark == Mark(bed.claimant("Database"))
    assert state.public_privileges == frozenset()
    assert state.allow_connections is True
    assert state.connection_limit == -1
    assert state.owner == bed.server.login
    assert state.encoding == "UTF8"
    assert state.comment is None


async def test_database_is_unfinished_until_it_is_opened(bed: Bed) -> None:
    """A crash right after CREATE DATABASE leaves one that is known to be ours."""
    name = bed.name("db")
    claimant = bed.claimant("Database")
    await bed.apply(CreateDatabase(name, "UTF8", sentinel(claimant)))
    state = await bed.database(name)
    owned = ownership(
        state, claimant=claimant, login=bed.server.login, is_living=lambda _: False
    )
    assert owned is Ownership.UNFINISHED
    with pytest.raises(DatabaseRefused):
        async with bed.connections.session(name):
            pass


async def test_database_created_meanwhile_is_reported_as_existing(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    with pytest.raises(AlreadyExistsNow):
        await bed.apply(CreateDatabase(name, None, 1))


async def test_databases_created_at_once_all_come_to_be(bed: Bed) -> None:
    names = [bed.name(f"db{number}") for number in range(5)]
    await asyncio.gather(*map(bed.create_database, names))
    states = [await bed.database(name) for name in names]
    assert all(state.allow_connections is True for state in states)


async def test_unrelated_role_cannot_enter_a_created_database(bed: Bed) -> None:
    name, role = bed.name("db"), bed.name("stranger")
    await bed.create_database(name)
    await bed.create_role(role)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        async with bed.login(role, name):
            pass
    await bed.grant(role, "CONNECT", database=name)
    async with bed.login(role, name) as connection:
        assert connection.info.dbname == name


async def test_encoding_that_does_not_exist_is_refused_with_its_name(bed: Bed) -> None:
    with pytest.raises(Rejected, match="UTF9"):
        await bed.apply(CreateDatabase(bed.name("db"), "UTF9", 1))


async def test_time_zone_holds_for_new_sessions_and_is_observed(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    applied = await bed.apply(SetDatabaseParameter(name, "TimeZone", "Europe/Paris"))
    assert applied.pending == ()
    assert (await bed.database(name)).settings == {"timezone": "Europe/Paris"}
    async with bed.login(
        *(bed.server.login, name), password=_password(bed)
    ) as connection:
        cursor = await connection.execute("SHOW timezone")
        assert await cursor.fetchone() == ("Europe/Paris",)


async def test_time_zone_that_does_not_exist_is_pending_alone(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    applied = await bed.apply(
        SetDatabaseParameter(name, "TimeZone", "Mars/Base"),
        AlterDatabase(name, connection_limit=7),
    )
    (pending,) = applied.pending
    assert pending.path == f"{name}: TimeZone"
    assert "Mars/Base" in pending.message
    assert (await bed.database(name)).connection_limit == 7


async def test_schema_is_created_and_found_in_the_catalog(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    await bed.apply(CreateSchema(name, "app"))
    await bed.execute(
        "CREATE TABLE app.plain (id int)",
        'CREATE VIEW app."A View" AS SELECT 1 AS one',
        "CREATE TABLE app.parts (id int) PARTITION BY LIST (id)",
        "CREATE SEQUENCE app.counter",
        "CREATE TEMPORARY TABLE passing (id int)",
        "CREATE TYPE app.mood AS ENUM ('good')",
        "CREATE DOMAIN app.money AS numeric",
        "CREATE TYPE app.span AS RANGE (subtype = int)",
        "CREATE FUNCTION app.f(int, app.mood[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE PROCEDURE app.\"Do It\"() LANGUAGE sql AS 'SELECT 1'",
        database=name,
    )
    async with bed.connections.session(name) as connection:
        catalog = await observe_catalog(
            connection, wanted=everything(name, "app", "missing")
        )
    assert catalog.schemas == {"public", "app"}
    functions = {on for on in catalog.objects if on.kind == "function"}
    # A range brings its constructors along.
    assert {"f(integer,app.mood[])", '"Do It"()'} <= {on.name for on in functions}
    assert catalog.objects - functions == {
        *securables("table", name, ("plain", "A View", "parts"), "app"),
        *securables("sequence", name, ("counter",), "app"),
        *securables("type", name, ("mood", "money", "span"), "app"),
    }


async def test_tables_of_extensions_are_not_in_the_catalog(
    bed: Bed, server: PostgresServer
) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    await run_as_superuser(
        server.superuser_dsn,
        "CREATE SCHEMA app",
        "CREATE TABLE app.own (id int)",
        "CREATE TABLE app.member (id int)",
        "ALTER EXTENSION plpgsql ADD TABLE app.member",
        database=name,
    )
    async with bed.connections.session(name) as connection:
        catalog = await observe_catalog(connection, wanted=everything(name, "app"))
    assert catalog.objects == set(securables("table", name, ("own",), "app"))


async def test_existing_comment_is_kept_and_restored(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    await bed.execute(f"COMMENT ON DATABASE {name} IS 'owned by team b'")
    state = await bed.database(name)
    assert (state.mark, state.comment) == (None, "owned by team b")
    mark = Mark(bed.claimant("Database"), foreign_comment=state.comment)
    await bed.apply(MarkDatabase(name, mark))
    assert (await bed.database(name)).mark == mark
    await bed.apply(MarkDatabase(name, None, mark.foreign_comment))
    assert (await bed.database(name)).comment == "owned by team b"


async def test_database_with_an_open_session_is_dropped(bed: Bed) -> None:
    name, role = bed.name("db"), bed.name("app")
    await bed.create_database(name)
    await bed.create_role(role)
    await bed.grant(role, "CONNECT", database=name)
    async with bed.connections.session(name):
        pass
    async with bed.login(role, name) as connection:
        await bed.apply(
            AlterDatabase(name, allow_connections=False), DropDatabase(name)
        )
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
    assert not (await bed.database(name)).exists


async def test_drop_is_no_slower_to_time_out_than_the_server(bed: Bed) -> None:
    """The connection that lifted the time-out for a drop has it again afterwards."""
    name = bed.name("db")
    await bed.create_database(name)
    await bed.apply(DropDatabase(name))
    async with bed.connections.session() as connection:
        cursor = await connection.execute("SHOW statement_timeout")
        assert await cursor.fetchone() == ("30s",)


async def test_what_keeps_a_database_from_being_dropped_is_said(
    bed: Bed, server: PostgresServer
) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    async with bed.connections.session() as connection:
        assert await observe_drop_blockers(connection, name) == ()
    await run_as_superuser(
        server.superuser_dsn,
        f"ALTER DATABASE {name} IS_TEMPLATE true",
        f"CREATE SUBSCRIPTION {name} CONNECTION '' PUBLICATION p WITH (connect=false)",
        database=name,
    )
    async with bed.connections.session() as connection:
        # The superuser's session may not have ended yet.
        template, subscriptions, *_ = await observe_drop_blockers(connection, name)
    assert "template" in template
    assert "subscriptions: 1" in subscriptions


def _password(bed: Bed) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(bed.dsn)["password"])
