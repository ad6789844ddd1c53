"""Text that is no UTF-8: from databases without an encoding, or in another one.

A database whose encoding is SQL_ASCII stores any bytes, and a comment or setting of a
database is stored in the encoding of the session that wrote it, which nobody records.
"""

from typing import Any, Final

import psycopg
from psycopg.abc import AdaptContext, Buffer, QueryNoTemplate
from psycopg.adapt import Loader
from psycopg.sql import Composable

_TEXT_TYPES: Final = ("text", "name", "varchar", "bpchar", '"char"')


class _EscapingLoader(Loader):
    """Loads UTF-8, and shows what is none escaped: it then names nothing there is."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "backslashreplace")


def show_any_bytes(context: AdaptContext) -> None:
    """Let a connection or cursor load every text, whatever its bytes."""
    for name in _TEXT_TYPES:
        context.adapters.register_loader(name, _EscapingLoader)


async def speak_in_bytes(connection: psycopg.AsyncConnection[Any]) -> None:
    """Prepare a session in a database without an encoding.

    Its server would fail a whole query for one name that the client's encoding has not.
    """
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        await connection.execute("SET client_encoding TO 'SQL_ASCII'")
        show_any_bytes(connection)


def in_utf8(query: QueryNoTemplate) -> QueryNoTemplate:
    """Return a statement as such a session sends it: psycopg would allow only ASCII."""
    if isinstance(query, Composable):
        return query.as_string(None).encode()
    return query
