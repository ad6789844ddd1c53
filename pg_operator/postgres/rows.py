"""Runs a query and returns its rows, whatever bytes they hold."""

from typing import Any, LiteralString

from pg_operator.postgres.connect import Connection
from pg_operator.postgres.encodings import show_any_bytes


async def read_rows(
    connection: Connection, query: LiteralString, **parameters: object
) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    cursor = await connection.execute(query, parameters)
    try:
        return await cursor.fetchall()
    except UnicodeDecodeError:
        # Shared catalogs hold what was written in databases of other encodings.
        cursor = connection.cursor()
        show_any_bytes(cursor)
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
