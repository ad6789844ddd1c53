"""One PostgreSQL server for the whole integration tier.

$PGOP_PG_BIN names the directory of another version's programs; with $PGOP_PG_TLS the
server lets in only those who use TLS.
"""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.postgres_bed import PASSWORD, Bed, open_bed, running_server
from tests.integration.reconcile_bed import Stage, on_stage
from tests.localcluster.postgres import PostgresOptions, PostgresServer

SETTINGS = {
    "log_statement": "all",
    "max_prepared_transactions": "5",
    "wal_level": "logical",
}


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server with host, port, superuser_dsn and admin_dsn."""
    options = PostgresOptions(
        tls=bool(os.environ.get("PGOP_PG_TLS")), settings=SETTINGS
    )
    with running_server(options) as server:
        yield server
        log = server.log.read_text(encoding="utf-8", errors="replace")
        assert PASSWORD not in log, "the operator sent a password in clear"


@pytest.fixture
def admin_dsn(server: PostgresServer) -> str:
    """The DSN of the operator's login: CREATEDB and CREATEROLE, no superuser."""
    return server.admin_dsn


@pytest.fixture
def superuser_dsn(server: PostgresServer) -> str:
    """The DSN of the superuser."""
    return server.superuser_dsn


@pytest.fixture
async def bed(server: PostgresServer) -> AsyncIterator[Bed]:
    """A bed on the server, with the operator's login."""
    async with open_bed(server.admin_dsn) as bed:
        yield bed


@pytest.fixture
async def stage(server: PostgresServer) -> AsyncIterator[Stage]:
    """Reconcilers on the server, with the operator's login."""
    async with on_stage(server.admin_dsn) as stage:
        yield stage
