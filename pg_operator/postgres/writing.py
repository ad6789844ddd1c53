"""The two ways to write on a server, both behind its fence."""

import contextlib
from collections.abc import AsyncGenerator, Collection
from typing import Final

import psycopg

from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import LockHeld
from pg_operator.postgres.fence import LEAVE, STRANGERS, Fence

# Seconds that we wait for CREATE and DROP DATABASE.
LONGEST_STATEMENT: Final = 6 * 3600.0


@contextlib.asynccontextmanager
async def writing_session(
    connection: Connection, *, locks: Collection[str], fence: Fence
) -> AsyncGenerator[Connection]:
    """Open the one kind of transaction that writes, with its advisory locks taken.

    The locks are those of the connection's database and go with the transaction. They
    spare concurrent writers of the same catalog rows PostgreSQL's "tuple concurrently
    updated"; taken in one order, the fence's first, they cannot deadlock.

    Raises:
        Superseded: another controller may lead by now.
        LockHeld: somebody else has one of the locks.
    """
    database = connection.info.dbname
    is_locked = False
    try:
        async with connection.transaction():
            await connection.execute_often(fence.locks(database), (sorted(locks),))
            is_locked = True
            fence.passed(database)
            yield connection
    except psycopg.errors.LockNotAvailable:
        if not is_locked:
            await _name_stranger(connection)
        raise


@contextlib.asynccontextmanager
async def slow_session(
    connection: Connection, *, fence: Fence
) -> AsyncGenerator[Connection]:
    """Lend it for one statement that runs in no transaction, for as long as it takes.

    Raises:
        Superseded: another controller may lead by now.
        LockHeld: somebody else has the lock.
    """
    database = connection.info.dbname
    try:
        cursor = await connection.execute(fence.enter(database))
    except psycopg.errors.LockNotAvailable:
        await _name_stranger(connection)
        raise
    try:
        fence.passed(database)
        while cursor.nextset():
            pass
        row = await cursor.fetchone()
        connection.slow_pid = row[0] if row else None
        with connection.waiting_for(LONGEST_STATEMENT):
            yield connection
    finally:
        connection.slow_pid = None
        if not connection.closed:
            await connection.execute(LEAVE)


async def _name_stranger(connection: Connection) -> None:
    """Say who holds a lock of ours, unless it is our own login: that passes.

    Raises:
        LockHeld: it is somebody else.
    """
    cursor = await connection.execute(STRANGERS)
    for (pid,) in await cursor.fetchall():
        who = "a prepared transaction" if pid is None else f"session {pid}"
        raise LockHeld(
            f"{who} that is not the operator's holds its advisory lock, so nothing is "
            "written; end it, and let only those connect to the database who must"
        )
