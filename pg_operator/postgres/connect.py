"""Connections to one server: few, reused, and proof against what tenants can set."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import pq

from pg_operator.postgres.connection import Connection, open_connection
from pg_operator.postgres.dsn import Dsn
from pg_operator.postgres.errors import (
    AuthenticationFailed,
    DatabaseRefused,
    PostgresError,
    ServerRefused,
    ServerUnreachable,
    Transient,
)
from pg_operator.postgres.fence import Fence
from pg_operator.postgres.translate import translate

CONCURRENT_CREATIONS: Final = 2
# Seconds.
JUST_NOW: Final = 1.0
LOGIN_TRIGGERS: Final = 170000
TRANSACTION_TIMEOUT: Final = 170000
REPLACED: Final = "the connections to this server were replaced"
_LOST: Final = (ServerUnreachable, ServerRefused, AuthenticationFailed)


@dataclass(frozen=True, slots=True)
class _Idle:
    """A connection nobody uses, and since when (the event loop's time)."""

    database: str
    connection: Connection
    since: float


class ServerConnections:
    """The connections to one server: never more than `max_connections` at once.

    They are shared by all databases: an idle one of another database makes room. Those
    who wait are served in the order they came. A task must leave one session before it
    asks for the next, or it may wait for itself. With `read_only` the server refuses
    every write, whatever is sent.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        max_connections: int = 4,
        may_write: Callable[[], bool] = lambda: True,
        read_only: bool = False,
    ) -> None:
        self.fence = Fence(may_write)
        self.creations = asyncio.Semaphore(CONCURRENT_CREATIONS)
        self.copying = asyncio.Lock()
        self.lent: set[Connection] = set()
        self._dsn = dsn
        self._max_connections = max_connections
        self._slots = asyncio.Semaphore(max_connections)
        self._busy = 0
        self._idle: list[_Idle] = []  # the least recently used first
        # Those being closed that make no room for another yet.
        self._ending: set[asyncio.Task[None]] = set()
        self._scarce: set[str] = set()
        self._identifier: str | None = None
        self._closed = False
        self._is_replaced = False
        self._session: dict[str, str] = {}
        if read_only:
            self._session["default_transaction_read_only"] = "on"

    @contextlib.asynccontextmanager
    async def session(self, database: str | None = None) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit to a database (the DSN's unless named).

        Raises:
            PostgresError: for anything that psycopg raises, in here or in the body.
        """
        name = self._dsn.dbname if database is None else database
        async with self._slots:
            self._busy += 1
            try:
                connection = await self._take(name)
                self.lent.add(connection)
                try:
                    # Again: it takes a while to connect.
                    self._check_open()
                    yield connection
                except (psycopg.Error, ServerUnreachable) as error:
                    elsewhere = name != self._dsn.dbname
                    raise _failure(error, elsewhere=elsewhere) from None
                finally:
                    self.lent.discard(connection)
                    await self._put_back(name, connection)
            except PostgresError:
                if self._is_replaced:
                    # What failed here says nothing about the server by now.
                    raise Transient(REPLACED) from None
                raise
            finally:
                self._busy -= 1

    def join(self, others: "ServerConnections") -> None:
        """Share with others to the same server who is at work there, and the locks."""
        self.fence = others.fence
        self.creations, self.copying = others.creations, others.copying
        self.lent = others.lent

    def expect(self, system_identifier: str) -> None:
        """Refuse from now on to work on another server that the DSN may lead to."""
        self._identifier = system_identifier

    async def spare(self, database: str, *, is_scarce: bool) -> None:
        """Keep no idle connection to a database that allows only a few, or do again."""
        if is_scarce:
            self._scarce.add(database)
            await self.discard(database)
        else:
            self._scarce.discard(database)

    async def discard(self, database: str) -> None:
        """Close the idle connections to one database, before it is dropped."""
        await self._close_if(lambda idle: idle.database == database)

    async def close_idle(self, *, older_than: float) -> None:
        """Close what nobody has used for `older_than` seconds."""
        now = asyncio.get_running_loop().time()
        await self._close_if(lambda idle: now - idle.since >= older_than)

    async def close(self) -> None:
        """Close everything; what is in use is closed when it comes back."""
        self._closed = True
        await self._close_if(lambda _: True)

    async def give_up(self) -> None:
        """Close everything at once: whoever is at work fails, as by a lost network."""
        for connection in self.lent:
            connection.hang_up()
        await self.close()

    async def give_up_lost(self, connection: Connection) -> None:
        """Hang up where a slow statement is waited for that no session runs any more.

        What is in between may keep a connection whose other end is gone. The server is
        asked on a connection that was lent.
        """
        slow = {one.slow_pid: one for one in self.lent if one.slow_pid is not None}
        if not slow:
            return
        cursor = await connection.execute(
            "SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid = ANY (%s)",
            (list(slow),),
        )
        living = {pid for (pid,) in await cursor.fetchall()}
        for pid in slow.keys() - living:
            slow[pid].hang_up()

    async def replace(self) -> None:
        """Close everything at once, for nothing leads to this server any more.

        Whoever is at work, or asks from now on, is to look again: a server that hangs
        would keep them for hours.
        """
        self._is_replaced = True
        await self.give_up()

    async def _close_if(self, condition: Callable[[_Idle], bool]) -> None:
        closing = [idle for idle in self._idle if condition(idle)]
        self._idle = [idle for idle in self._idle if not condition(idle)]
        ending = [asyncio.create_task(idle.connection.end()) for idle in closing]
        for task in ending:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        await asyncio.gather(*ending)

    @property
    def _made(self) -> int:
        """How many connections there are, with one for each who is about to have it."""
        return len(self._idle) + self._busy + len(self._ending)

    def _check_open(self) -> None:
        """Lend nothing more once the DSN changed: the next look uses the new one."""
        if self._closed:
            raise Transient(REPLACED)

    async def _take(self, database: str) -> Connection:
        self._check_open()
        while idle := self._newest(database):
            self._idle.remove(idle)
            if _was_alive_just_now(idle) or await idle.connection.is_alive():
                return idle.connection
        while self._made > self._max_connections:
            if self._idle:
                await self._idle.pop(self._least_useful()).connection.end()
            else:
                await asyncio.wait(self._ending)
        try:
            return await self._open(database)
        except _LOST:
            if database == self._dsn.dbname:
                raise
        except DatabaseRefused as refused:
            if database == self._dsn.dbname:
                raise
            # A role may be in several: which of them is it?
            raise type(refused)(f"{refused} (database '{database}')") from None
        # Only the DSN's own database speaks for the server: others have owners.
        async with await self._open(self._dsn.dbname) as own:
            may_skip_triggers = _may_skip_triggers(own)
        if may_skip_triggers:
            return await self._open(database, event_triggers="off")
        raise DatabaseRefused(
            "the database lets nobody in, although its server answers: is there a login"
            f" trigger, or a line for it in pg_hba.conf? (database '{database}')"
        )

    async def _open(self, database: str, **session: str) -> Connection:
        """Connect, with what this server is known to need."""
        settings = self._session | session
        connection = await open_connection(self._dsn, database, session=settings)
        if connection.info.server_version >= TRANSACTION_TIMEOUT:
            # Older servers refuse a session that starts with a setting they lack.
            self._session["transaction_timeout"] = "0"
        try:
            await self._check_identity(connection)
        except PostgresError:
            await connection.close()
            raise
        return connection

    async def _check_identity(self, connection: Connection) -> None:
        """Refuse another server than the one that `expect` was told of."""
        if self._identifier is None:
            return
        try:
            cursor = await connection.execute(
                "SELECT system_identifier::pg_catalog.text"
                " FROM pg_catalog.pg_control_system()"
            )
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise translate(error) from None
        if row != (self._identifier,):
            raise ServerUnreachable("another server answers at the DSN's address")

    def _least_useful(self) -> int:
        """Choose what makes room: every object's work returns to the DSN's database."""
        places = enumerate(self._idle)
        elsewhere = (n for n, idle in places if idle.database != self._dsn.dbname)
        return next(elsewhere, 0)

    def _newest(self, database: str) -> _Idle | None:
        """Look anew each time: others take and close while one is being tried."""
        newest_first = reversed(self._idle)
        return next((idle for idle in newest_first if idle.database == database), None)

    async def _put_back(self, database: str, connection: Connection) -> None:
        status = connection.info.transaction_status
        is_idle = status == pq.TransactionStatus.IDLE
        if self._closed or not is_idle or database in self._scarce:
            await connection.end()
            return
        connection.take_warnings()
        now = asyncio.get_running_loop().time()
        self._idle.append(_Idle(database, connection, now))


def _failure(
    error: psycopg.Error | ServerUnreachable, *, elsewhere: bool
) -> PostgresError:
    """Make one of ours from what ended a session.

    In another database than the DSN's its owner, or whoever drops it, may have ended
    it: only the next connect tells whether the server is there.
    """
    failure = translate(error) if isinstance(error, psycopg.Error) else error
    if elsewhere and isinstance(failure, ServerUnreachable):
        return Transient("the session in this database was ended")
    return failure


def _may_skip_triggers(connection: Connection) -> bool:
    """Tell whether our login may start sessions that run no login trigger."""
    info = connection.info
    is_superuser = info.parameter_status("is_superuser") == "on"
    return is_superuser and info.server_version >= LOGIN_TRIGGERS


def _was_alive_just_now(idle: _Idle) -> bool:
    """Tell whether asking would find out no more than the next statement does."""
    now = asyncio.get_running_loop().time()
    return now - idle.since < JUST_NOW and not idle.connection.has_heard()
