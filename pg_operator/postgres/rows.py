"""Runs a query and returns its rows, whatever bytes they hold."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, LiteralString

import psycopg

from pg_operator.postgres import bounds
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.encodings import show_any_bytes
from pg_operator.postgres.errors import DatabaseTooLarge

Execute = Callable[
    [LiteralString, Mapping[str, object]], Awaitable[psycopg.AsyncCursor[Any]]
]


async def read_rows(
    connection: Connection, query: LiteralString, **parameters: object
) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    return await _read(connection, connection.execute, query, parameters)


async def read_often(
    connection: Connection, query: LiteralString, **parameters: object
) -> list[tuple[Any, ...]]:
    """Return all rows of a query whose plan is the same whatever it is asked.

    As that of a look-up by name in catalogs that all databases share. What depends on
    the sizes of tenants' things is planned each time, which may be dear and pays.
    """
    return await _read(connection, connection.execute_often, query, parameters)


async def _read(
    connection: Connection,
    execute: Execute,
    query: LiteralString,
    parameters: Mapping[str, object],
) -> list[tuple[Any, ...]]:
    cursor = await execute(query, parameters)
    try:
        return await cursor.fetchall()
    except UnicodeDecodeError:
        # Shared catalogs hold what was written in databases of other encodings.
        cursor = connection.cursor()
        show_any_bytes(cursor)
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def read_bounded(
    connection: Connection, query: LiteralString, *, what: str, **parameters: object
) -> list[tuple[Any, ...]]:
    """Return all rows of a query on what tenants make; `what` is like "tables".

    Raises:
        DatabaseTooLarge: there are more than `bounds.MOST_ROWS`.
    """
    limited = query + "LIMIT %(most)s"
    most = bounds.MOST_ROWS + 1
    rows = await read_rows(connection, limited, most=most, **parameters)
    check_bound(len(rows), what=what)
    return rows


def check_bound(count: int, *, what: str) -> None:
    """Hold what tenants make to `bounds.MOST_ROWS`; `what` is like "tables".

    Raises:
        DatabaseTooLarge: it is more.
    """
    most = bounds.MOST_ROWS
    if count > most:
        raise DatabaseTooLarge(f"there are more than {most} {what} in the database")
