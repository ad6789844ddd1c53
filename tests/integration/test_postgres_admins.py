"""The operator with the logins of cloud providers, and with logins that lack rights."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, errors

from pg_operator.plan.deletion import deletion_role
from pg_operator.plan.operations import (
    AlterDatabase,
    AlterRole,
    CreateSchema,
    DropDatabase,
    GrantRoleToSelf,
)
from pg_operator.plan.policies import Ownership, ownership
from pg_operator.plan.privileges import RevokePrivileges
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS, missing_rights
from pg_operator.postgres.apply import apply
from pg_operator.postgres.errors import DatabaseRefused, MissingPrivilege
from pg_operator.postgres.observe_dependencies import (
    observe_dependencies,
    observe_drop_blockers,
    observe_homes,
)
from tests.integration.admins import PASSWORD, PROVIDERS, Provider, create_provider
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import securables


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


@pytest.fixture
async def bed(server: PostgresServer, provider: Provider) -> AsyncIterator[Bed]:
    async with open_bed(create_provider(server, provider)) as bed:
        yield bed


async def test_admin_of_a_provider_lacks_nothing(bed: Bed, provider: Provider) -> None:
    assert (bed.server.login, bed.server.superuser) == (provider.admin, False)
    assert missing_rights(bed.server, max_connections=4) == ()


async def test_admin_of_a_provider_does_the_whole_job(bed: Bed) -> None:
    database, owner, reader = bed.name("shop"), bed.name("owner"), bed.name("reader")
    await bed.create_database(database)
    await bed.apply(CreateSchema(database, "app"))
    for role in (owner, reader):
        await bed.create_role(role)
        await bed.grant(role, "CONNECT", database=database)
        await bed.grant(role, "USAGE", database=database, schema="app")
    await bed.grant(owner, "CREATE", database=database, schema="app")
    async with bed.login(owner, database) as connection:
        await connection.execute("CREATE TABLE app.theirs AS SELECT 1 AS one")
    applied = await bed.grant(
        reader, "SELECT", database=database, schema="app", table="theirs"
    )
    assert applied.pending == ()
    async with bed.login(reader, database) as connection:
        await connection.execute("SELECT one FROM app.theirs")
        revoke = RevokePrivileges(
            reader, securables("table", database, ("theirs",), "app"), ("SELECT",)
        )
        assert (await bed.apply(revoke)).pending == ()
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("SELECT one FROM app.theirs")
        await delete_role(bed, owner, database=database)
        assert not (await bed.role(owner)).exists
        await bed.apply(
            AlterDatabase(database, allow_connections=False), DropDatabase(database)
        )
    assert not (await bed.database(database)).exists


async def delete_role(bed: Bed, role: str, *, database: str) -> None:
    """Carry out the plan that deletes a role with objects in one database."""
    async with bed.connections.session() as connection:
        dependencies = await observe_dependencies(connection, [role])
    async with bed.connections.session(database) as connection:
        homes = {database: await observe_homes(connection, role)}
    plan = deletion_role(
        await bed.role(role),
        policy="Delete",
        dependencies=dependencies[role],
        heir=await bed.role(bed.name("heir")),
        homes=homes,
    )
    await apply(
        plan, server=bed.server, connections=bed.connections, keyring=bed.keyring
    )


async def test_database_of_the_provider_is_not_entered_and_never_managed(
    bed: Bed, provider: Provider
) -> None:
    with pytest.raises(DatabaseRefused, match="no CONNECT privilege"):
        async with bed.connections.session(provider.database):
            pass
    owned = ownership(
        await bed.database(provider.database),
        claimant=bed.claimant("Database"),
        login=bed.server.login,
        is_living=lambda _: False,
    )
    assert owned is Ownership.PROTECTED


async def test_roles_of_the_provider_are_never_managed(
    bed: Bed, provider: Provider
) -> None:
    """On 14 and 15 the server itself would let the login change some of them."""
    for name, expected in (
        (provider.group, Ownership.UNMANAGED),
        (provider.superuser, Ownership.PROTECTED),
        (provider.admin, Ownership.PROTECTED),
    ):
        owned = ownership(
            await bed.role(name),
            claimant=bed.claimant("DatabaseRole"),
            login=bed.server.login,
            is_living=lambda _: False,
        )
        assert (name, owned) == (name, expected)
        assert not owned.may_write


async def test_role_that_somebody_else_made_is_refused_with_its_name(
    bed: Bed, server: PostgresServer
) -> None:
    if bed.server.version_number < 160000:
        pytest.skip("up to PostgreSQL 15 CREATEROLE may change every role")
    role = bed.name("foreign")
    await run_as_superuser(server.superuser_dsn, f"CREATE ROLE {role}")
    with pytest.raises(MissingPrivilege, match="may not do this") as refused:
        await bed.apply(AlterRole(role, login=True))
    assert server.superuser_password not in str(refused.value)


async def test_session_of_the_provider_in_a_database_is_named_before_it_is_dropped(
    bed: Bed, provider: Provider
) -> None:
    database = bed.name("db")
    await bed.create_database(database)
    login = conninfo.make_conninfo(
        bed.dsn, user=provider.superuser, password=PASSWORD, dbname=database
    )
    async with await psycopg.AsyncConnection.connect(login, autocommit=True) as agent:
        await agent.execute("SELECT 1")
        async with bed.connections.session() as connection:
            (blocker,) = await observe_drop_blockers(connection, database)
        assert "sessions that the operator's login may not end: 1" in blocker
        with pytest.raises(MissingPrivilege):
            await bed.apply(DropDatabase(database))
        assert (await bed.database(database)).exists


@pytest.mark.parametrize("option", ["", "SET OPTION FOR ", "INHERIT OPTION FOR "])
async def test_membership_that_the_login_lost_is_taken_again(
    bed: Bed, server: PostgresServer, option: str
) -> None:
    """Who may create roles must not be locked out of them by a stray REVOKE."""
    role, login = bed.name("app"), bed.server.login
    has_options = bed.server.version_number >= MEMBERSHIP_OPTIONS
    if option and not has_options:
        pytest.skip("a membership has options from PostgreSQL 16 on")
    await bed.create_role(role)
    grantor = f" GRANTED BY {login}" if has_options else ""
    await run_as_superuser(
        server.superuser_dsn, f"REVOKE {option}{role} FROM {login}{grantor}"
    )
    assert (await bed.role(role)).self_member is False
    await bed.apply(GrantRoleToSelf(role))
    assert (await bed.role(role)).self_member is True


async def test_login_that_inherits_nothing_acts_for_the_roles_that_it_made(
    server: PostgresServer,
) -> None:
    async with open_bed(server.admin_dsn) as admin:
        name = admin.name("login")
        if admin.server.version_number < MEMBERSHIP_OPTIONS:
            pytest.skip("such a login lacks a right up to PostgreSQL 15")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {name} LOGIN NOINHERIT CREATEDB CREATEROLE PASSWORD 'weak'",
    )
    dsn = conninfo.make_conninfo(server.admin_dsn, user=name, password="weak")
    async with open_bed(dsn) as bed:
        database, owner, reader = (bed.name(one) for one in ("db", "owner", "reader"))
        await bed.create_database(database)
        await bed.create_role(owner)
        await bed.create_role(reader)
        assert (await bed.role(owner)).self_member is True
        await bed.execute(f"CREATE SCHEMA app AUTHORIZATION {owner}", database=database)
        applied = await bed.grant(reader, "USAGE", database=database, schema="app")
        assert applied.pending == ()


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("NOCREATEDB", "create_database", False),
        ("NOCREATEROLE", "create_role", False),
        ("NOINHERIT", "inherits", False),
        ("CONNECTION LIMIT 3", "connection_limit", 3),
        ("SET rds.restrict_password_commands = 'on'", "set_passwords", False),
    ],
)
async def test_what_the_login_lacks_is_observed(
    server: PostgresServer, change: str, field: str, value: Any
) -> None:
    async with open_bed(server.admin_dsn) as admin:
        name = admin.name("login")
        usual = admin.server
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD 'weak'",
        f"ALTER ROLE {name} {change}",
    )
    dsn = conninfo.make_conninfo(server.admin_dsn, user=name, password="weak")
    async with open_bed(dsn) as bed:
        changes: dict[str, Any] = {"login": name, field: value}
        assert bed.server == replace(usual, **changes)


async def test_member_of_rds_password_may_set_passwords(server: PostgresServer) -> None:
    """The role is RDS's own: its one test makes it and takes it away."""
    async with open_bed(server.admin_dsn) as admin:
        name = admin.name("login")
    await run_as_superuser(
        server.superuser_dsn,
        "CREATE ROLE rds_password",
        f"CREATE ROLE {name} LOGIN PASSWORD 'weak' IN ROLE rds_password",
        f"ALTER ROLE {name} SET rds.restrict_password_commands = 'on'",
    )
    dsn = conninfo.make_conninfo(server.admin_dsn, user=name, password="weak")
    async with open_bed(dsn) as bed:
        assert bed.server.set_passwords is True
    await run_as_superuser(server.superuser_dsn, "DROP ROLE rds_password")
