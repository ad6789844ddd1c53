"""Keeps what is stored of a password out of the server's log, where the login may.

A verifier is no password, but whoever has it can try passwords against it at leisure.
"""

import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping
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
# Everybody may change these.
_DEBUGGING: Final = {"debug_print_parse": "off", "debug_print_rewritten": "off"}
# A transaction is chosen to be logged as it begins.
_SAMPLING: Final = "log_transaction_sample_rate"

PARAMETER_PRIVILEGES: Final = 150000
_MAY_SET: Final = sql.SQL(
    "SELECT name FROM pg_catalog.unnest(%s::text[]) AS name"
    " WHERE pg_catalog.has_parameter_privilege(name, 'SET')"
)


async def changeable_settings(connection: Connection) -> list[str]:
    """Return those of the log's settings that the login may change now."""
    names = [*_SILENCE, _SAMPLING]
    if connection.info.parameter_status("is_superuser") == "on":
        return names
    if connection.info.server_version < PARAMETER_PRIVILEGES:
        return []
    cursor = await connection.execute_often(_MAY_SET, [names])
    return [name for (name,) in await cursor.fetchall()]


async def leave_unsampled(
    connection: Connection, *, changeable: Collection[str]
) -> None:
    """Let the server choose none of a session's transactions to be logged as a whole.

    To be called before the transaction that is to be `unlogged`.
    """
    if _SAMPLING in changeable:
        await connection.execute(
            sql.SQL("SET {} TO 0").format(sql.Identifier(_SAMPLING))
        )


@contextlib.asynccontextmanager
async def unlogged(
    connection: Connection, *, changeable: Collection[str]
) -> AsyncGenerator[None]:
    """Let the server log no statement until the block ends, within a transaction.

    Settings that are not `changeable` stay as they are. After a failure they end with
    the transaction.
    """
    silence = {name: off for name, off in _SILENCE.items() if name in changeable}
    if not silence:
        yield
        return
    silence |= _DEBUGGING
    await _set_local(
        connection, {name: sql.Literal(value) for name, value in silence.items()}
    )
    yield
    await _set_local(connection, dict.fromkeys(silence, sql.DEFAULT))


async def _set_local(
    connection: Connection, settings: Mapping[str, sql.Composable]
) -> None:
    set_local = sql.SQL("SET LOCAL {} TO {}")
    statements = [
        set_local.format(sql.Identifier(*name.split(".")), value)
        for name, value in settings.items()
    ]
    await connection.execute(sql.SQL("; ").join(statements))
