"""The main path as a PostgreSQL superuser, whose mistakes cost the most."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import (
    AlterRole,
    CreateSchema,
    DropDatabase,
    DropOwned,
    DropRole,
)
from pg_operator.plan.privileges import RevokePrivileges
from pg_operator.plan.state import Mark
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_roles import observe_verifiers
from tests.integration.postgres_bed import (
    Bed,
    evil_aclexplode,
    logged_since,
    open_bed,
    run_as_superuser,
)
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import everything, securables

pytestmark = pytest.mark.superuser


@pytest.fixture
async def bed(server: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(server.superuser_dsn) as bed:
        yield bed


async def test_database_role_and_grants_are_made_used_and_dropped(bed: Bed) -> None:
    database, role = bed.name("shop"), bed.name("app")
    await bed.create_database(database)
    await bed.create_role(role)
    await bed.apply(CreateSchema(database, "app"))
    await bed.execute("CREATE TABLE app.orders (id int)", database=database)
    await bed.grant(role, "CONNECT", database=database)
    await bed.grant(role, "USAGE", database=database, schema="app")
    await bed.grant(role, "SELECT", database=database, schema="app", table="orders")
    async with bed.login(role, database) as connection:
        await connection.execute("SELECT id FROM app.orders")
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("DELETE FROM app.orders")
    await bed.apply(
        RevokePrivileges(
            role, securables("table", database, ("orders",), "app"), ("SELECT",)
        )
    )
    orders = Securable("table", database, "app", "orders")
    assert Grant(orders, "SELECT") not in await bed.grants(role, database=database)
    state = await bed.role(role)
    assert isinstance(state.mark, Mark)
    assert state.self_member is True
    await bed.apply(DropOwned(database, role), DropRole(role))
    await bed.apply(DropDatabase(database))
    assert not (await bed.role(role)).exists
    assert not (await bed.database(database)).exists


async def test_tenants_functions_do_not_make_the_tenant_a_superuser(bed: Bed) -> None:
    """CVE-2026-55769 of another operator: an unqualified name in the owner's path."""
    database, tenant = bed.name("theirs"), bed.name("tenant")
    await bed.create_database(database)
    await bed.create_role(tenant)
    await bed.execute(f"ALTER DATABASE {database} OWNER TO {tenant}")
    async with bed.login(tenant, database) as connection:
        for statement in (
            "CREATE SCHEMA evil",
            "GRANT USAGE ON SCHEMA evil TO PUBLIC",
            evil_aclexplode(f"ALTER ROLE {tenant} SUPERUSER"),
            f"ALTER DATABASE {database} SET search_path = evil, pg_catalog",
            f"ALTER DATABASE {database} SET role = {tenant}",
        ):
            await connection.execute(statement)
    await bed.grant(tenant, "USAGE", database=database, schema="evil")
    await bed.grants(tenant, database=database)
    async with bed.connections.session(database) as ours:
        await observe_catalog(ours, wanted=everything(database, "evil"))
    assert (await bed.role(tenant)).superuser is False


async def test_superuser_grants_on_what_others_own(bed: Bed) -> None:
    database, owner, reader = bed.name("db"), bed.name("owner"), bed.name("reader")
    await bed.create_database(database)
    await bed.create_role(owner, login=False)
    await bed.create_role(reader)
    await bed.execute(f"CREATE SCHEMA own AUTHORIZATION {owner}", database=database)
    applied = await bed.grant(reader, "USAGE", database=database, schema="own")
    assert applied.pending == ()


async def test_login_of_a_role_with_the_wrong_password_is_refused(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        async with bed.login(role, "postgres", password="wrong"):
            pass


async def test_verifier_of_a_password_is_not_logged_and_all_else_is(
    bed: Bed, server: PostgresServer
) -> None:
    before = server.log.stat().st_size
    role = bed.name("app")
    await bed.create_role(role)
    change = bed.password("new § password", role=role)
    await bed.apply(AlterRole(role, password=change))
    with pytest.raises(Rejected):
        await bed.apply(AlterRole(bed.name("nobody"), password=change))
    async with bed.connections.session() as connection:
        cursor = await connection.execute("SHOW log_statement")
        assert await cursor.fetchone() == ("all",)
    said = logged_since(server, before)
    assert f'COMMENT ON ROLE "{role}"' in said
    assert "SCRAM-SHA-256$" not in said


async def test_verifier_is_not_logged_where_all_transactions_are(
    bed: Bed, server: PostgresServer
) -> None:
    """The server chooses a transaction as it begins; then it is too late."""
    login = bed.name("sampled")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {login} LOGIN SUPERUSER PASSWORD 'sampled-login-canary'",
        f"ALTER ROLE {login} SET log_transaction_sample_rate TO 1",
    )
    dsn = make_conninfo(server.admin_dsn, user=login, password="sampled-login-canary")
    role = bed.name("app")
    before = server.log.stat().st_size
    async with open_bed(dsn) as sampled:
        await sampled.create_role(role)
        change = sampled.password("new § password", role=role)
        await sampled.apply(AlterRole(role, password=change))
    said = logged_since(server, before)
    assert f'COMMENT ON ROLE "{role}"' in said
    assert "SCRAM-SHA-256$" not in said


async def test_password_that_somebody_else_set_is_found_and_set_again(
    bed: Bed,
) -> None:
    role = bed.name("app")
    spec = DatabaseRoleSpec.parse(
        {
            "roleName": role,
            "databaseClusterRef": {"name": "main"},
            "password": {"name": "secret"},
        }
    )

    async def plan() -> Plan:
        observed = await bed.role(role)
        async with bed.connections.session() as connection:
            seen = await observe_verifiers(connection, [role], keyring=bed.keyring)
        observed = replace(observed, verifier=seen[role])
        desired = desired_role(
            spec,
            claimant=bed.claimant("DatabaseRole"),
            observed=observed,
            server=bed.server,
            password=bed.password(role=role),
            grants=frozenset(),
            scope=frozenset(),
        )
        return diff(desired, observed)

    assert bed.server.read_passwords
    await bed.apply(*(await plan()).operations)
    assert await plan() == Plan()
    for change in (
        f"ALTER ROLE {role} PASSWORD 'theirs'",
        f"ALTER ROLE {role} PASSWORD NULL",
    ):
        await bed.execute(change)
        await bed.apply(*(await plan()).operations)
        async with bed.login(role, "postgres"):
            pass
        assert await plan() == Plan()


async def test_login_that_is_no_superuser_sees_no_password(
    admin_dsn: str,
) -> None:
    async with open_bed(admin_dsn) as bed:
        assert not bed.server.read_passwords
