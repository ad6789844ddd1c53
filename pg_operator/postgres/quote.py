"""Names and values that are safe to put into a statement."""

import re
from typing import Final

from psycopg import sql

from pg_operator.postgres.errors import Rejected

# PostgreSQL cuts longer names off, and so would act on another object.
LONGEST_NAME: Final = 63

# What quote_ident() and format_type() write: names, and types of one or more words.
_NAME: Final = r'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")+")'
_TYPE: Final = rf"{_NAME}(?:\.{_NAME})?(?: [a-z]+)*(?:\[\])*"
_SIGNATURE: Final = re.compile(rf"{_NAME}\((?:{_TYPE}(?:,{_TYPE})*)?\)")


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


def quote_parameter(name: str) -> sql.Identifier:
    """Quote a parameter's name, whose parts, if it has a prefix, are quoted singly.

    Raises:
        Rejected: no parameter can have this name.
    """
    return sql.Identifier(*map(checked_name, name.split(".")))


def quote_value(value: str) -> sql.Literal:
    """Quote a text.

    Raises:
        Rejected: PostgreSQL cannot store it.
    """
    if not is_storable(value):
        raise Rejected("a value holds a character that PostgreSQL cannot store")
    return sql.Literal(value)


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


def checked_signature(signature: str) -> sql.SQL:
    """Let a function's signature through that the server itself has written.

    That is quoted already. Everything else is refused, so that it stays one name.

    Raises:
        Rejected: the server would not have written it so.
    """
    if not is_storable(signature) or not _SIGNATURE.fullmatch(signature):
        raise Rejected("a function has a signature that cannot be sent")
    return sql.SQL(signature)


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can store a text: UTF-8 without NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
