"""Names and values that are safe to put into a statement."""

from typing import Final

from psycopg import sql

from pg_operator.postgres.errors import Rejected

# PostgreSQL cuts longer names off, and so would act on another object.
LONGEST_NAME: Final = 63


def quote_name(*parts: str) -> sql.Identifier:
    """Quote a name, qualified when it has several parts.

    Raises:
        Rejected: nothing can have this name.
    """
    return sql.Identifier(*map(checked_name, parts))


def quote_role(name: str) -> sql.Identifier:
    """Quote a role's name, if it can be one.

    PostgreSQL's grammar takes these two for keywords even when they are quoted:
    a grant to "public" is a grant to everybody.

    Raises:
        Rejected: no role can have this name.
    """
    if name in {"public", "none"}:
        raise Rejected("a role cannot have this name")
    return quote_name(name)


def checked_name(name: str) -> str:
    """Let a name through that reaches the server as it is: psycopg cuts at a NUL.

    Raises:
        Rejected: nothing can have this name.
    """
    if not name or not is_storable(name):
        raise Rejected("a name is empty or holds a character that is not allowed")
    if len(name.encode()) > LONGEST_NAME:
        raise Rejected(f"a name is longer than {LONGEST_NAME} bytes")
    return name


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can store a text: UTF-8 without NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
