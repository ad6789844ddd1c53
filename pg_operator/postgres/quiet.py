"""Keeps what is stored of a password out of the server's log, where the login may.

A verifier is no password, but whoever has it can try passwords against it at leisure.
"""

import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from psycopg import sql

from pg_operator.postgres.connection import Connection

# Only a superuser may change these.
_SILENCE: Final = {
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_duration": "off",
    "pg_stat_statements.track_utility": "off",
}


@contextlib.asynccontextmanager
async def unlogged(connection: Connection) -> AsyncGenerator[None]:
    """Let the server log no statement until the block ends, within a transaction.

    After a failure the settings end with the transaction.
    """
    settings = [
        (sql.Identifier(*name.split(".")), sql.Literal(value))
        for name, value in _SILENCE.items()
    ]
    set_local = sql.SQL("SET LOCAL {} TO {}")
    silence = [set_local.format(name, value) for name, value in settings]
    await connection.execute(sql.SQL("; ").join(silence))
    yield
    default = sql.SQL("DEFAULT")
    speak = [set_local.format(name, default) for name, _ in settings]
    await connection.execute(sql.SQL("; ").join(speak))
