"""Keeps what is stored of a password out of the server's log, where the login may.

A verifier is no password, but whoever has it can try passwords against it at leisure.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from psycopg import sql

from pg_operator.postgres.connection import Connection

# A superuser may change these, and from 15 on who was granted SET on them.
_SILENCE: Final = {
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_duration": "off",
    "pg_stat_statements.track_utility": "off",
}
PARAMETER_PRIVILEGES: Final = 150000
_MAY_SET: Final = sql.SQL(
    "SELECT name FROM pg_catalog.unnest(%s::text[]) AS name"
    " WHERE pg_catalog.has_parameter_privilege(name, 'SET')"
)


@contextlib.asynccontextmanager
async def unlogged(connection: Connection) -> AsyncGenerator[None]:
    """Let the server log no statement until the block ends, within a transaction.

    Settings that the login may not change stay as they are. After a failure they end
    with the transaction.
    """
    names = await _changeable(connection)
    if not names:
        yield
        return
    await _set_local(connection, {name: sql.Literal(_SILENCE[name]) for name in names})
    yield
    await _set_local(connection, dict.fromkeys(names, sql.DEFAULT))


async def _changeable(connection: Connection) -> list[str]:
    if connection.info.parameter_status("is_superuser") == "on":
        return list(_SILENCE)
    if connection.info.server_version < PARAMETER_PRIVILEGES:
        return []
    cursor = await connection.execute(_MAY_SET, [list(_SILENCE)])
    return [name for (name,) in await cursor.fetchall()]


async def _set_local(
    connection: Connection, settings: Mapping[str, sql.Composable]
) -> None:
    set_local = sql.SQL("SET LOCAL {} TO {}")
    statements = [
        set_local.format(sql.Identifier(*name.split(".")), value)
        for name, value in settings.items()
    ]
    await connection.execute(sql.SQL("; ").join(statements))
