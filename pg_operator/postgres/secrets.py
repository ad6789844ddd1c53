"""Passwords: hashed here by libpq, so that no server ever sees or logs one."""

from psycopg import pq

from pg_operator.api.secret import SecretText
from pg_operator.postgres.errors import Rejected


def scram_verifier(password: SecretText, *, role: str, pgconn: pq.abc.PGconn) -> str:
    """Return the SCRAM-SHA-256 verifier that PostgreSQL stores for a password.

    Raises:
        Rejected: an empty password, which PostgreSQL would store as none at all, or
            one with a NUL character.
    """
    text = password.reveal()
    if not text:
        raise Rejected("the password is empty")
    if "\0" in text:
        raise Rejected("the password has a NUL character in it")
    # The algorithm is named: left out, libpq asks the server, which may say md5.
    return pgconn.encrypt_password(
        text.encode(), role.encode(), b"scram-sha-256"
    ).decode()
