"""Makes errors of ours from psycopg's, in words that are fit for a condition.

PostgreSQL's own words are repeated as far as `errors` allows.
"""

import re
from collections.abc import Collection
from typing import Final

import psycopg

from pg_operator.postgres.errors import (
    AlreadyExistsNow,
    AuthenticationFailed,
    DatabaseFull,
    DatabaseRefused,
    MissingPrivilege,
    NotFound,
    ObjectInUse,
    OutOfLocks,
    PostgresError,
    Rejected,
    ServerRefused,
    ServerUnreachable,
    Transient,
)

_UNREACHABLE: Final = "the server does not answer"

# psycopg gives no SQLSTATE for a failed connect, and the text is the server's in its
# own language: what is not known here counts as unreachable, never as "wrong password".
_CONNECT_TEXTS: Final[tuple[tuple[str, type[PostgresError], str], ...]] = (
    (
        "password authentication failed",
        AuthenticationFailed,
        "the server does not accept the user and password of the DSN; correct them",
    ),
    (
        "no password supplied",
        AuthenticationFailed,
        "the server asks for a password and the DSN has none",
    ),
    (
        "authentication method requirement",
        AuthenticationFailed,
        "the server asks for a way to authenticate that require_auth does not allow",
    ),
    (
        "pg_hba.conf",
        AuthenticationFailed,
        "the server's pg_hba.conf does not let the DSN's user in from here",
    ),
    (
        "is not permitted to log in",
        AuthenticationFailed,
        "the DSN's user may not log in",
    ),
    (
        "authentication failed",
        AuthenticationFailed,
        "the server does not accept the DSN's user",
    ),
    (
        "too many connections for database",
        DatabaseFull,
        "the database's connection limit is reached",
    ),
    (
        "is not currently accepting connections",
        DatabaseRefused,
        "the database does not accept connections",
    ),
    (
        "cannot connect to invalid database",
        DatabaseRefused,
        "the database is invalid: an interrupted DROP DATABASE left it; drop it",
    ),
    (
        "permission denied for database",
        DatabaseRefused,
        "the operator's login has no CONNECT privilege on the database",
    ),
    (
        "too many connections for role",
        ServerRefused,
        "the connection limit of the operator's login is reached",
    ),
    (
        "too many clients already",
        ServerRefused,
        "the server has no free connection",
    ),
    (
        "connection slots are reserved",
        ServerRefused,
        "the server has no free connection",
    ),
    ("is starting up", ServerRefused, "the server is starting up"),
    ("is shutting down", ServerRefused, "the server is shutting down"),
    ("in recovery mode", ServerRefused, "the server is recovering from a crash"),
    ("not yet accepting connections", ServerRefused, "the server is starting up"),
    ("not accepting connections", ServerRefused, "the server accepts no connections"),
    (
        "server is in hot standby mode",
        ServerRefused,
        "none of the DSN's hosts is a primary",
    ),
    ("session is read-only", ServerRefused, "none of the DSN's hosts is a primary"),
    (
        "unsupported startup parameter",
        ServerRefused,
        "a connection pooler refuses start-up options; use the server's address",
    ),
    (
        "server does not support SSL",
        ServerUnreachable,
        "the server has no TLS, which the DSN's sslmode (require unless set) asks for",
    ),
    (
        "certificate verify failed",
        ServerUnreachable,
        "the server's certificate cannot be verified",
    ),
    (
        "does not match host name",
        ServerUnreachable,
        "the server's certificate is for another host than the DSN's",
    ),
    (
        "valid client certificate",
        AuthenticationFailed,
        "the server asks for a client certificate: Secret keys tls.crt and tls.key",
    ),
    ("failed to resolve host", ServerUnreachable, "the host name does not resolve"),
    ("Connection refused", ServerUnreachable, "nothing listens at the DSN's address"),
)
_MISSING_ROLE_OR_DATABASE: Final = re.compile(r'(role|database) ".*" does not exist')


def translate_connect(error: psycopg.Error) -> PostgresError:
    """Make one of ours from a failed connect, repeating nothing of its text."""
    text = str(error)
    if missing := _MISSING_ROLE_OR_DATABASE.search(text):
        if missing[1] == "role":
            return AuthenticationFailed("the server does not know the DSN's user")
        return DatabaseRefused("the database does not exist")
    for part, kind, message in _CONNECT_TEXTS:
        if part in text:
            return kind(message)
    return ServerUnreachable(_UNREACHABLE)


_ENDED: Final = "the server ended the session"
_LOST: Final = "the transaction failed as a whole, and is tried again"
_SQLSTATES: Final[dict[str, tuple[type[PostgresError], str]]] = {
    # Whoever went on would end in a COMMIT that PostgreSQL takes for a ROLLBACK.
    "25P02": (Transient, _LOST),
    "3B001": (Transient, _LOST),
    "25006": (ServerRefused, "the server is read-only: is it a standby?"),
    "40001": (Transient, "a concurrent transaction changed the same objects"),
    "40P01": (Transient, "a concurrent transaction holds the same locks"),
    "53200": (
        OutOfLocks,
        "the server has no room for more locks: raise its max_locks_per_transaction",
    ),
    "53300": (ServerRefused, "the server has no free connection"),
    "55P03": (Transient, "a lock was held for too long by another session"),
    "57P01": (ServerUnreachable, _ENDED),
    "57P02": (ServerUnreachable, _ENDED),
    "57P03": (ServerRefused, "the server accepts no connections at the moment"),
    "57P04": (DatabaseRefused, "the database was dropped"),
    "57P05": (ServerUnreachable, _ENDED),
    "25P03": (ServerUnreachable, _ENDED),
    "25P04": (ServerUnreachable, _ENDED),
}
_ALREADY_EXISTS: Final = frozenset({"23505", "42710", "42P04", "42P06"})
_IN_USE: Final = frozenset({"2BP01", "55006"})
_NOT_FOUND: Final = frozenset({"3D000", "3F000", "42703", "42704", "42883", "42P01"})
_RACES: Final = ("tuple concurrently updated", "tuple concurrently deleted")
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"')
# Here PostgreSQL writes the name last, and without quotes.
_UNQUOTED: Final = re.compile(r"(permission denied for|must be owner of) .*")


def translate(error: psycopg.Error, *, names: Collection[str] = ()) -> PostgresError:
    """Make one of ours from a failed statement.

    Of PostgreSQL's text only the primary message is used, with every name and literal
    taken out that is not among `names`, the texts that the statement itself was about.
    That is known of English only: in another language the SQLSTATE speaks for itself.
    """
    state = error.sqlstate or ""
    if state.startswith("08") or (not state and _is_about_connection(error)):
        return ServerUnreachable("the connection to the server was lost")
    if not state:
        return Rejected("a value cannot be sent to PostgreSQL")
    if state in _SQLSTATES:
        kind, message = _SQLSTATES[state]
        return kind(message)
    primary = error.diag.message_primary or ""
    # Internal errors are never translated, so their text can be trusted.
    if state == "XX000" and any(race in primary for race in _RACES):
        return Transient("a concurrent transaction changed the same objects")
    said = _only(primary, names) if _is_english(error.diag) else _words(state)
    return _from_statement(state, said)


def _is_about_connection(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _from_statement(state: str, said: str) -> PostgresError:
    """Make the error whose text is PostgreSQL's own."""
    if state == "42501":
        return MissingPrivilege(f"the operator's login may not do this: {said}")
    if state in _ALREADY_EXISTS:
        return AlreadyExistsNow(f"someone else made it first: {said}")
    if state in _IN_USE:
        return ObjectInUse(f"still in use: {said}")
    if state == "54000":
        said += "; grant to fewer roles: make the others members of one role"
    kind = NotFound if state in _NOT_FOUND else Rejected
    return kind(f"PostgreSQL refused: {said} (SQLSTATE {state})", sqlstate=state)


def _is_english(diag: psycopg.errors.Diagnostic) -> bool:
    """Tell whether a message is PostgreSQL's own, untranslated text.

    Servers say ERROR in Spanish as well, but put names into quotes of their own.
    """
    unquoted = _QUOTED.sub("", diag.message_primary or "")
    return diag.severity == diag.severity_nonlocalized and unquoted.isascii()


def _words(state: str) -> str:
    """Return what a SQLSTATE stands for, as PostgreSQL names it."""
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        return "no reason given"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _only(text: str, names: Collection[str]) -> str:
    """Blank out every name and literal in a message that is not one of `names`."""
    line = text.splitlines()[0] if text else "no reason given"
    unquoted = _UNQUOTED.fullmatch(line)
    if unquoted and not any(line.endswith(f" {name}") for name in names):
        return f"{unquoted[1]} …"
    return _QUOTED.sub(
        lambda quoted: quoted[0] if quoted[1] in names else '"…"',
        line,
    )
