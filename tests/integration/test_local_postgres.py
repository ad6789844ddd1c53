"""The test bed's PostgreSQL: an outage it plays must not forget what was committed."""

import psycopg

from tests.localcluster.postgres import PostgresServer


def test_server_that_is_stopped_keeps_what_was_committed(
    server: PostgresServer,
) -> None:
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE last_of_all")
        server.stop()
        server.start()

    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname='last_of_all'")
        assert found.fetchall() == [(1,)]
        connection.execute("DROP ROLE last_of_all")
