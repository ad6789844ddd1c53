"""What a bad wire to the server does: nothing is lost, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg import conninfo

from pg_operator.postgres.errors import ServerUnreachable
from pg_operator.postgres.writing import slow_session, writing_session
from pg_operator.reconcilers.outcome import Key, Outcome
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, OPERATOR, Stage, on_stage
from tests.localcluster.faults import Accident, Fault, Wire
from tests.localcluster.postgres import PostgresServer

PATIENCE = 110.0
SOON = 0.5
CLUSTER = Key("DatabaseCluster", "", "main")


@asynccontextmanager
async def wired_stage(server: PostgresServer) -> AsyncIterator[tuple[Stage, Wire]]:
    """A stage that reaches the server over a wire."""
    async with Wire(server.host, server.port).laid() as wire:
        # Without TLS, so that the wire sees what is said; libpq waits 2 s at least.
        changes = {"port": wire.port, "connect_timeout": 2}
        dsn = conninfo.make_conninfo(server.admin_dsn, **changes)
        async with on_stage(dsn) as stage, asyncio.timeout(PATIENCE):
            yield stage, wire


@pytest.fixture
async def wired(server: PostgresServer) -> AsyncIterator[tuple[Stage, Wire]]:
    """A stage and its wire."""
    async with wired_stage(server) as (stage, wire):
        yield stage, wire


@pytest.fixture
def readable(server: PostgresServer) -> None:
    """What goes over the wire can be read."""
    if server.tls:
        pytest.skip("over TLS no statement can be told from another")


def declare(stage: Stage, bed: Bed) -> list[Key]:
    """Put a database and a role with permissions in it."""
    stage.secrets["shop", "password"] = {"password": b"not a good one"}
    spec: dict[str, Any] = {"name": bed.name("db"), **MAIN, "schema": "app"}
    permission = {
        "database": bed.name("db"),
        "privileges": ["CONNECT"],
        "schemas": [{"name": "app", "privileges": ["USAGE", "CREATE"]}],
    }
    role = {
        "roleName": bed.name("role"),
        **MAIN,
        "password": {"name": "password"},
        "permissions": [permission],
    }
    return [
        stage.put("Database", "db", spec, namespace="shop"),
        stage.put("DatabaseRole", "role", role, namespace="shop"),
    ]


async def settle(stage: Stage, keys: list[Key]) -> None:
    """Reconcile over and over, as the queue does, until everything is as declared."""
    while True:
        reasons = [(await stage.reconcile(key))[0] for key in (CLUSTER, *keys)]
        for key, reason in zip(keys, reasons[1:], strict=True):
            stage.say_ready(key, is_ready=reason == "Reconciled")
        if reasons == ["Connected", *["Reconciled"] * len(keys)]:
            return


async def assert_standing(stage: Stage, bed: Bed) -> None:
    """Assert that the role gets in and may do what it is permitted."""
    async with bed.login(
        bed.name("role"), bed.name("db"), password="not a good one"
    ) as client:
        await client.execute("CREATE TABLE app.t (id int)")


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("accident", ["cut before", "cut after"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE DATABASE",
        "COMMENT ON DATABASE",
        "ALTER DATABASE",
        "CREATE SCHEMA",
        "CREATE ROLE",
        "COMMENT ON ROLE",
        "GRANT",
    ],
)
async def test_connection_cut_at_any_statement_costs_only_time(
    wired: tuple[Stage, Wire], bed: Bed, statement: str, accident: Accident
) -> None:
    """Before it the statement is lost, after it only the answer is."""
    stage, wire = wired
    keys = declare(stage, bed)
    wire.at(statement.encode(), accident)
    await settle(stage, keys)
    assert not wire.is_due()
    await assert_standing(stage, bed)


async def test_slow_wire_costs_only_time(wired: tuple[Stage, Wire], bed: Bed) -> None:
    stage, wire = wired
    keys = declare(stage, bed)
    wire.delay = 0.01
    await settle(stage, keys)
    await assert_standing(stage, bed)


async def test_wire_that_refuses_is_said_and_tried_again(
    wired: tuple[Stage, Wire], bed: Bed
) -> None:
    stage, wire = wired
    keys = declare(stage, bed)
    wire.fault = "refused"
    for key in (CLUSTER, *keys):
        assert (await stage.reconcile(key))[0] in {
            "ServerUnreachable",
            "ClusterUnavailable",
        }
    wire.fault = "none"
    await settle(stage, keys)
    await assert_standing(stage, bed)


async def test_password_that_an_outage_holds_up_stays_pending_at_each_look(
    wired: tuple[Stage, Wire], bed: Bed
) -> None:
    """By this reason it goes first when the server returns."""
    stage, wire = wired
    keys = declare(stage, bed)
    await settle(stage, keys)
    wire.fault = "refused"
    stage.secrets["shop", "password"] = {"password": b"another one"}
    await stage.reconcile(CLUSTER)
    for _ in range(2):
        reason, _, _ = await stage.reconcile(keys[1])
        assert reason == "PasswordPending"
        stage.say_ready(keys[1], is_ready=False, reason=reason)
    stage.put("DatabaseRole", "role", {**MAIN, "roleName": "x"}, namespace="shop")
    assert (await stage.reconcile(keys[1]))[0] == "ClusterUnavailable"


@pytest.mark.parametrize("fault", ["silent", "half-open"])
async def test_server_that_falls_silent_is_given_up(
    wired: tuple[Stage, Wire], fault: Fault
) -> None:
    stage, wire = wired
    await stage.reconcile(CLUSTER)
    connections = stage.context.servers.links()["main"].connections

    async def ask() -> None:
        async with connections.session() as session:
            wire.fault = fault
            with session.waiting_for(SOON):
                await session.execute("SELECT pg_sleep(0.01)")

    with pytest.raises(ServerUnreachable):
        await ask()
    wire.fault = "none"
    async with connections.session() as session:
        await session.execute("SELECT")


async def freeze_while_creating(
    stage: Stage, wire: Wire, database: Key
) -> "asyncio.Task[tuple[str, str, Outcome]]":
    """Have the server fall silent in the creation of a database, which goes on."""
    await stage.reconcile(CLUSTER)
    wire.at(b"CREATE DATABASE", "silent after")
    creating = asyncio.create_task(stage.reconcile(database))
    while wire.is_due():  # noqa: ASYNC110 (the wire has no event for it)
        await asyncio.sleep(0.01)
    return creating


@pytest.mark.usefixtures("readable")
async def test_server_that_falls_silent_in_a_slow_statement_is_given_up_with_a_probe(
    wired: tuple[Stage, Wire], bed: Bed
) -> None:
    """How long a database takes nobody knows; a probe knows if its server lives."""
    stage, wire = wired
    keys = declare(stage, bed)
    creating = await freeze_while_creating(stage, wire, keys[0])
    assert (await stage.reconcile(CLUSTER))[0] == "ServerUnreachable"
    assert (await creating)[0] == "ClusterUnavailable"
    wire.fault = "none"
    await settle(stage, keys)
    await assert_standing(stage, bed)


@pytest.mark.usefixtures("readable")
async def test_slow_statement_whose_session_is_gone_is_given_up_with_a_probe(
    wired: tuple[Stage, Wire], bed: Bed
) -> None:
    """What is in between keeps the connection; the server no longer knows of it."""
    stage, wire = wired
    keys = declare(stage, bed)
    await stage.reconcile(CLUSTER)
    wire.at(b"CREATE DATABASE", "half-open after")
    creating = asyncio.create_task(stage.reconcile(keys[0]))
    while not creating.done():
        assert (await stage.reconcile(CLUSTER))[0] == "Connected"
    assert not wire.is_due()
    await settle(stage, keys)
    await assert_standing(stage, bed)


@pytest.mark.parametrize("change", ["connections", "Secret"])
async def test_session_goes_on_while_its_server_stays_where_it_was(
    wired: tuple[Stage, Wire], bed: Bed, change: str
) -> None:
    """Others may write beside it, as they could before."""
    stage, _ = wired
    declare(stage, bed)
    await stage.reconcile(CLUSTER)
    old = stage.context.servers.links()["main"].connections
    async with (
        old.session() as connection,
        slow_session(connection, fence=old.fence),
    ):
        if change == "Secret":
            stage.secrets[OPERATOR, "dsn"]["note"] = b"it was looked over"
        else:
            spec = {"connection": {"name": "dsn"}, "maxConnections": 2}
            stage.put("DatabaseCluster", "main", spec)
        assert (await stage.reconcile(CLUSTER))[0] == "Connected"
        new = stage.context.servers.links()["main"].connections
        assert new is not old
        async with (
            new.session() as beside,
            writing_session(beside, locks=(), fence=new.fence),
        ):
            await connection.execute("SELECT")


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("end", ["another DSN", "deletion"])
async def test_slow_statement_on_a_frozen_server_ends_with_its_dsn(
    wired: tuple[Stage, Wire], server: PostgresServer, bed: Bed, end: str
) -> None:
    """Nobody waits for hours for a server that no DatabaseCluster leads to."""
    stage, wire = wired
    keys = declare(stage, bed)
    creating = await freeze_while_creating(stage, wire, keys[0])
    if end == "deletion":
        stage.remove(CLUSTER)
    direct = server.admin_dsn
    stage.secrets[OPERATOR, "dsn"] = {"connection": direct.encode()}
    await stage.reconcile(CLUSTER)
    assert (await creating)[0] != "Reconciled"
    if end == "deletion":
        stage.uid_prefix = "another"
        stage.put("DatabaseCluster", "main", {"connection": {"name": "dsn"}})
        await stage.reconcile(CLUSTER)
    links = stage.context.servers.links()
    assert [*links] == ["main"], "the end of the old sessions says nothing of the new"
    await settle(stage, keys)
    await assert_standing(stage, bed)
