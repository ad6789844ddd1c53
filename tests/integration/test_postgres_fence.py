"""The server keeps a controller whose time is up from writing behind the next one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection

from pg_operator.api.secret import SecretText
from pg_operator.plan.operations import CreateDatabase, CreateRole, Operation
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.errors import (
    LockHeld,
    PostgresError,
    Superseded,
    Transient,
)
from pg_operator.postgres.fence import FENCE_CLASS
from pg_operator.postgres.writing import slow_session, writing_session
from tests.integration.postgres_bed import Bed

PATIENCE = 60.0


class Controller:
    """One of two processes: its connections, and whether its Lease has run out."""

    def __init__(self, bed: Bed) -> None:
        self.leads = True
        self.connections = ServerConnections(
            parse_dsn(SecretText(bed.dsn), allow_loopback=True),
            may_write=lambda: self.leads,
        )
        self.bed = replace(bed, connections=self.connections)

    @asynccontextmanager
    async def writing(self, database: str | None = None) -> AsyncIterator[Connection]:
        """Open a transaction that writes."""
        async with (
            self.connections.session(database) as connection,
            writing_session(connection, locks=(), fence=self.connections.fence),
        ):
            yield connection


@pytest.fixture
async def old(bed: Bed) -> AsyncIterator[Controller]:
    controller = Controller(bed)
    yield controller
    await controller.connections.close()


@pytest.fixture
async def new(bed: Bed) -> AsyncIterator[Controller]:
    controller = Controller(bed)
    yield controller
    await controller.connections.close()


async def write(controller: Controller, database: str | None = None) -> None:
    """Write as a reconcile does, which tries again later when a lock is in the way."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with controller.writing(database):
                    return
            except Transient:
                continue


def create_role(bed: Bed) -> Operation:
    return CreateRole(
        bed.name("app"), login=False, connection_limit=None, password=None
    )


def create_database(bed: Bed) -> Operation:
    return CreateDatabase(bed.name("shop"), None, 7)


@pytest.mark.parametrize("operation", [create_role, create_database])
async def test_controller_whose_time_is_up_changes_nothing(
    bed: Bed, old: Controller, operation: Callable[[Bed], Operation]
) -> None:
    async with old.writing():
        pass
    old.leads = False
    with pytest.raises(Superseded):
        await old.bed.apply(operation(bed))
    assert not (await bed.role(bed.name("app"))).exists
    assert not (await bed.database(bed.name("shop"))).exists


async def test_next_controllers_first_write_waits_for_open_ones(
    old: Controller, new: Controller
) -> None:
    order: list[str] = []

    async def follow() -> None:
        await write(new)
        order.append("new")

    async with old.writing() as connection:
        following = asyncio.create_task(follow())
        await wait_for_waiter(connection)
        order.append("old")
    await following
    assert order == ["old", "new"]


async def test_next_controller_waits_for_a_database_that_is_being_made(
    old: Controller, new: Controller
) -> None:
    fence = old.connections.fence
    async with old.connections.session() as connection:
        async with slow_session(connection, fence=fence):
            following = asyncio.create_task(write(new))
            await wait_for_waiter(connection)
            assert not following.done()
        await following


async def test_writers_of_one_controller_do_not_wait_for_each_other(
    new: Controller,
) -> None:
    await write(new)
    async with new.writing(), new.writing():
        pass


async def test_each_database_has_its_own_fence(
    bed: Bed, old: Controller, new: Controller
) -> None:
    """Locks of one database are not seen in another."""
    shop = bed.name("shop")
    await bed.execute(f"CREATE DATABASE {shop}")
    await write(new)
    async with old.writing(shop) as connection:
        following = asyncio.create_task(write(new, shop))
        await wait_for_waiter(connection)
        assert not following.done()
    await following


async def test_server_ends_a_transaction_that_is_frozen(
    bed: Bed, old: Controller, new: Controller
) -> None:
    role = bed.name("app")

    async def freeze() -> None:
        async with old.writing() as connection:
            cursor = await connection.execute(
                "SHOW idle_in_transaction_session_timeout"
            )
            assert await cursor.fetchone() == ("5s",)
            await connection.execute("SET idle_in_transaction_session_timeout = 100")
            await connection.execute(f"CREATE ROLE {role}")
            await write(new)
            await connection.execute(f"ALTER ROLE {role} LOGIN")

    with pytest.raises(PostgresError):
        await freeze()
    assert not (await bed.role(role)).exists


async def test_server_ends_a_session_that_is_frozen_before_a_slow_statement(
    bed: Bed, old: Controller, new: Controller
) -> None:
    shop, fence = bed.name("shop"), old.connections.fence

    async def freeze() -> None:
        async with (
            old.connections.session() as connection,
            slow_session(connection, fence=fence),
        ):
            cursor = await connection.execute("SHOW idle_session_timeout")
            assert await cursor.fetchone() == ("5s",)
            await connection.execute("SET idle_session_timeout = 100")
            await write(new)
            await connection.execute(f"CREATE DATABASE {shop}")

    with pytest.raises(PostgresError):
        await freeze()
    assert not (await bed.database(shop)).exists


async def test_session_is_left_as_it_was_after_a_slow_statement(
    new: Controller,
) -> None:
    async with new.connections.session() as connection:
        async with slow_session(connection, fence=new.connections.fence):
            pass
        cursor = await connection.execute(
            "SELECT current_setting('statement_timeout'),"
            " current_setting('idle_session_timeout'),"
            " (SELECT count(*) FROM pg_locks"
            "  WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
        )
        assert await cursor.fetchone() == ("30s", "0", 0)


async def wait_for_waiter(connection: AsyncConnection[Any]) -> None:
    """Wait until somebody waits for a lock that this session holds."""
    waiting = (
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
        " AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    async with asyncio.timeout(PATIENCE):
        while True:
            cursor = await connection.execute(waiting)
            if await cursor.fetchone() == (True,):
                return


LOCK = "SELECT pg_advisory_lock({}, 0)"
PREPARED = "BEGIN; SELECT pg_advisory_xact_lock({}, 0); PREPARE TRANSACTION 'held'"


@pytest.mark.parametrize("slow", [False, True])
async def test_lock_that_a_stranger_holds_is_named_and_stops_no_other_database(
    bed: Bed, new: Controller, *, slow: bool
) -> None:
    """Advisory locks are open to whoever may connect."""
    shop, tenant = bed.name("shop"), bed.name("tenant")
    await bed.execute(f"CREATE DATABASE {shop}")
    await bed.create_role(tenant)
    fence = new.connections.fence

    async def write_in_shop() -> None:
        async with new.connections.session(shop) as connection:
            session = (
                slow_session(connection, fence=fence)
                if slow
                else writing_session(connection, locks=(), fence=fence)
            )
            async with session:
                pass

    async with bed.login(tenant, shop) as stranger:
        pid = stranger.info.backend_pid
        await stranger.execute(LOCK.format(FENCE_CLASS))
        writing = asyncio.create_task(write_in_shop())
        await wait_for_waiter(stranger)
        await write(new)
        with pytest.raises(LockHeld) as held:
            await writing
    assert f"session {pid} " in str(held.value)
    assert tenant not in str(held.value)
    await write(new, shop)


async def test_lock_that_a_strangers_prepared_transaction_holds_is_named(
    bed: Bed, new: Controller
) -> None:
    shop, tenant = bed.name("shop"), bed.name("tenant")
    await bed.execute(f"CREATE DATABASE {shop}")
    await bed.create_role(tenant)
    async with bed.login(tenant, shop) as stranger:
        await stranger.execute(PREPARED.format(FENCE_CLASS))
        with pytest.raises(LockHeld, match="a prepared transaction "):
            await write(new, shop)
        await stranger.execute("ROLLBACK PREPARED 'held'")


async def test_lock_that_another_controller_holds_is_waited_for(
    old: Controller, new: Controller
) -> None:
    """It is the same login's: that passes."""
    async with old.writing() as connection:
        await connection.execute("SET idle_in_transaction_session_timeout TO 0")
        with pytest.raises(Transient):
            async with new.writing():
                pass
