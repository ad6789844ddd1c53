"""A server whose processes freeze while its network goes on living."""

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest

from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import ServerUnreachable, Transient
from pg_operator.postgres.writing import slow_session, writing_session
from tests.integration.postgres_bed import Bed

SOON = 0.5  # seconds; it is the server that must never answer in time


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop one backend of our own server, and let it go on in the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def do_impatiently(
    bed: Bed, database: str | None, work: Callable[[Connection], Awaitable[None]]
) -> None:
    """Do what the server never answers to; the session must not be lent again."""
    async with bed.connections.session(database) as connection:
        try:
            with connection.waiting_for(SOON):
                await work(connection)
        finally:
            assert connection.closed


async def test_statement_on_which_the_server_freezes_is_given_up(bed: Bed) -> None:
    with contextlib.ExitStack() as thawed_at_the_end:

        async def work(connection: Connection) -> None:
            thawed_at_the_end.enter_context(frozen(connection.info.backend_pid))
            await connection.execute("SELECT 1")

        with pytest.raises(ServerUnreachable):
            await do_impatiently(bed, None, work)


async def test_commit_on_which_the_server_freezes_is_given_up(bed: Bed) -> None:
    """In another database than the DSN's that says nothing of the whole server."""
    await bed.create_database(bed.name("db"))
    with contextlib.ExitStack() as thawed_at_the_end:

        async def work(connection: Connection) -> None:
            fence = bed.connections.fence
            async with writing_session(connection, locks=(), fence=fence):
                await connection.execute("CREATE TABLE public.t ()")
                thawed_at_the_end.enter_context(frozen(connection.info.backend_pid))

        with pytest.raises(Transient):
            await do_impatiently(bed, bed.name("db"), work)


async def test_server_has_the_time_for_a_statement_that_it_gives_itself(
    bed: Bed,
) -> None:
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT EXTRACT(epoch FROM current_setting('statement_timeout')::interval)"
        )
        row = await cursor.fetchone()
        assert row is not None
        assert float(row[0]) < connection.patience
        # CREATE and DROP DATABASE, which have no limit there, get more.
        with connection.waiting_for(SOON):
            async with slow_session(connection, fence=bed.connections.fence):
                await connection.execute("SELECT pg_sleep(%s)", (2 * SOON,))
            assert connection.patience == SOON
