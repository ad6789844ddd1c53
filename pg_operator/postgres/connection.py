"""One session on a server: who and where we are in it, and how long we wait."""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq, sql
from psycopg.abc import Params, PQGen, QueryNoTemplate
from psycopg.rows import AsyncRowFactory, TupleRow, tuple_row

from pg_operator.postgres.dsn import SESSION, Dsn
from pg_operator.postgres.encodings import in_utf8, speak_in_bytes
from pg_operator.postgres.errors import (
    DatabaseRefused,
    PostgresError,
    ServerUnreachable,
)
from pg_operator.postgres.translate import translate, translate_connect

# Seconds. The server ends a statement after 30 (statement_timeout), if it can: one that
# is frozen, or whose storage hangs, does not, while its network says that all is well.
PATIENCE: Final = 45.0
# For a sign of life.
SHORTEST_STATEMENT: Final = 10.0
CHECK_INTERVAL: Final = 0.1  # psycopg's own
END_SECONDS: Final = 1.0
# How often a session reads the same before its server is to keep the plan: to make one
# costs more than to carry it out, and to have it kept is a round trip more.
READS_BEFORE_PLAN_IS_KEPT: Final = 4
_SAVEPOINT: Final = sql.SQL("SAVEPOINT apart")
_APART: Final = sql.SQL("{}; RELEASE SAVEPOINT apart")
_UNDO_APART: Final = "ROLLBACK TO SAVEPOINT apart; RELEASE SAVEPOINT apart"
Result = TypeVar("Result")


class Connection(psycopg.AsyncConnection[TupleRow]):
    """A connection that keeps the SQLSTATEs of the warnings it was sent.

    `patience` is how long, in seconds, it waits for the end of a statement, whatever
    the server does about its own limits; `slow_pid` is what the server calls the
    session while that is for hours.
    """

    def __init__(
        self,
        pgconn: pq.abc.PGconn,
        row_factory: AsyncRowFactory[TupleRow] = tuple_row,
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.patience = PATIENCE
        self.slow_pid: int | None = None
        self._warnings: list[str] = []
        self.add_notice_handler(self._keep_warning)

    async def execute(  # type: ignore[override]  # we have no use for templates
        self, query: QueryNoTemplate, params: Params | None = None, **options: Any
    ) -> psycopg.AsyncCursor[TupleRow]:
        """Run one statement, as psycopg does."""
        if self.info.encoding == "ascii":
            query = in_utf8(query)
        return await super().execute(query, params, **options)

    async def execute_often(
        self, query: QueryNoTemplate, params: Params | None = None
    ) -> psycopg.AsyncCursor[TupleRow]:
        """Run a statement that is sent over and over, and let its plan be kept."""
        # Only for this one: psycopg lets go of every plan at an ALTER that it counts.
        self.prepare_threshold = READS_BEFORE_PLAN_IS_KEPT
        try:
            return await self.execute(query, params)
        finally:
            self.prepare_threshold = None

    async def execute_apart(self, statement: sql.Composable) -> None:
        """Run a statement in a savepoint of the open transaction, in one round trip.

        In two where it is not ASCII: of what its encoding lacks the server refuses all
        at once, the savepoint too.
        """
        if statement.as_string(None).isascii():
            statement = sql.SQL("{}; {}").format(_SAVEPOINT, statement)
        else:
            await self.execute(_SAVEPOINT)
        try:
            await self.execute(_APART.format(statement))
        except psycopg.Error:
            if self.info.transaction_status == pq.TransactionStatus.INERROR:
                await self.execute(_UNDO_APART)
            raise

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = CHECK_INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109  # psycopg's
    ) -> Result:
        """Wait for the server, as all statements and transactions do.

        Raises:
            psycopg.OperationalError: it is given up, and so is the connection.
        """
        bound = self.patience if timeout is None else timeout
        try:
            return await super().wait(gen, interval, bound)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                # Nobody knows what became of the statement.
                self.pgconn.finish()
            raise

    def has_heard(self) -> bool:
        """Tell whether the server said something unasked; mostly that it is the end."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    async def is_alive(self) -> bool:
        """Tell whether the server still knows it while idle; if not, it is closed."""
        try:
            with self.waiting_for(SHORTEST_STATEMENT):
                await self.execute("SELECT")
        except psycopg.Error:
            await self.close()
            return False
        return True

    def hang_up(self) -> None:
        """End it without a word; who waits for an answer hears of it at once."""
        if self.closed:
            return
        with contextlib.suppress(OSError), self._copied_socket() as end:
            end.shutdown(socket.SHUT_RDWR)

    async def end(self) -> None:
        """Close it, and wait a little until the server has ended it, too.

        It counts a session as one of its login's until then.
        """
        if self.closed:
            return
        with contextlib.suppress(OSError), self._copied_socket() as end:
            end.settimeout(0)
            await self.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    while await asyncio.get_running_loop().sock_recv(end, 4096):
                        pass
        await self.close()

    def _copied_socket(self) -> socket.socket:
        """Return the socket once more: the one that is libpq's is its own to close."""
        return socket.socket(fileno=os.dup(self.pgconn.socket))

    @contextlib.contextmanager
    def waiting_for(self, seconds: float) -> Iterator[None]:
        """Wait for statements longer, or less long, for a while."""
        before = self.patience
        self.patience = seconds
        try:
            yield
        finally:
            self.patience = before

    def take_warnings(self) -> tuple[str, ...]:
        """Return the warnings since the last call, and forget them."""
        warnings = tuple(self._warnings)
        self._warnings.clear()
        return warnings

    def _keep_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        # The other severities are not of class 01.
        if notice.sqlstate is not None and notice.sqlstate.startswith("01"):
            self._warnings.append(notice.sqlstate)


async def open_connection(
    dsn: Dsn, database: str, *, session: Mapping[str, str] = MappingProxyType({})
) -> Connection:
    """Connect to one database and make sure of who and where we are.

    `session` has settings to start with, beside those that every server knows.

    Raises:
        PostgresError: no connection, or the session is not as we asked for it.
    """
    failure: PostgresError
    try:
        # psycopg resolves host names without a limit of time of its own.
        async with asyncio.timeout((dsn.connect_timeout + 1) * (len(dsn.hosts) + 1)):
            connection = await Connection.connect(
                dsn.conninfo(database, session=session),
                autocommit=True,
                prepare_threshold=None,
            )
    except psycopg.Error as error:
        failure = translate_connect(error)
    except (TimeoutError, OSError, UnicodeError):
        failure = ServerUnreachable("the server does not answer")
    else:
        try:
            await _verify(connection)
        except BaseException:
            await connection.close()
            raise
        return connection
    # Outside of the handlers: their texts name hosts and must not be chained.
    raise failure


async def _verify(connection: Connection) -> None:
    """Check that the session is as we asked for, whatever its database sets.

    It is, unless something in between drops start-up options: then it is the tenant's.
    """
    try:
        for name in ("search_path", "role"):
            # SHOW calls no function and no operator that something could stand in for.
            cursor = await connection.execute(f"SHOW {name}")
            if await cursor.fetchone() != (SESSION[name],):
                raise DatabaseRefused(
                    "its sessions do not start as they are asked to: does a connection "
                    "pooler drop start-up options? Use the server's own address"
                )
        await speak_in_bytes(connection)
    except psycopg.Error as error:
        raise translate(error) from None
