"""A server in recovery: it answers, and takes no writes."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pg_operator.api.secret import SecretText
from pg_operator.plan.operations import CreateRole
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.errors import ServerRefused
from tests.integration.postgres_bed import open_bed, run_as_superuser, running_server
from tests.localcluster.postgres import PostgresOptions, PostgresServer

PASSWORD = "weak"
BOTH = (
    "DROP ROLE IF EXISTS app",
    f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'",
)


@pytest.fixture(scope="module")
def standby() -> Iterator[PostgresServer]:
    """A second server, which waits for a primary that never comes."""
    with running_server(PostgresOptions()) as server:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            for statement in BOTH:
                connection.execute(sql.SQL(statement))
        server.stop()
        server.data.joinpath("standby.signal").touch()
        server.start()
        yield server


async def test_standby_is_observed_as_one_and_its_refusal_is_no_outage(
    standby: PostgresServer,
) -> None:
    async with open_bed(standby.admin_dsn) as bed:
        assert bed.server.in_recovery is True
        role = CreateRole("x", login=False, connection_limit=None, password=None)
        with pytest.raises(ServerRefused, match="read-only"):
            await bed.apply(role)


async def test_primary_is_found_among_several_hosts(
    standby: PostgresServer, server: PostgresServer
) -> None:
    """As after a failover: the first host was the primary once."""
    await run_as_superuser(server.superuser_dsn, *BOTH)
    login = f"user=app password={PASSWORD} dbname=postgres sslmode=prefer"
    addresses = "host=a.example.test,b.example.test hostaddr=127.0.0.1,127.0.0.1"

    def connections(*ports: int) -> ServerConnections:
        text = f"{login} {addresses} port={','.join(map(str, ports))}"
        return ServerConnections(parse_dsn(SecretText(text), allow_loopback=True))

    several = connections(standby.port, server.port)
    async with several.session() as connection:
        assert connection.info.port == server.port
    await several.close()
    with pytest.raises(ServerRefused, match="none of the DSN's hosts is a primary"):
        async with connections(standby.port, standby.port).session():
            pass
