"""The floor: what the operator writes, by nothing but psycopg and a plain client.

The same SQL on 4 connections, and at the same time the same objects, statuses and
Events by one client of an API server whose webhooks are away; nobody works on these
objects.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.bench.client import CALLS_IN_FLIGHT, Client
from tests.bench.orders import Order
from tests.cluster.items import IN_DATABASE, IN_SCHEMA, SCHEMA

CONNECTIONS: Final = 4
# Stands for the comment that marks what is the operator's, which is about as long.
MARK: Final = 300 * "m"
CREATE_DATABASE: Final = (
    "CREATE DATABASE {database} TEMPLATE template0 ALLOW_CONNECTIONS false",
)
OPEN_DATABASE: Final = (
    "COMMENT ON DATABASE {database} IS {mark}",
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "ALTER DATABASE {database} ALLOW_CONNECTIONS true",
)
CREATE_LOGIN: Final = (
    "CREATE ROLE {role} LOGIN PASSWORD {password}",
    "GRANT {role} TO CURRENT_USER",
    "COMMENT ON ROLE {role} IS {mark}",
    "GRANT {in_database} ON DATABASE {database} TO {role}",
)
CREATE_SCHEMA: Final = ("CREATE SCHEMA {schema}",)
GRANT_INSIDE: Final = ("GRANT {in_schema} ON SCHEMA {schema} TO {role}",)


async def create(
    client: Client,
    dsn: str,
    orders: Sequence[Order],
    statuses: Mapping[str, Mapping[str, Any]],
) -> float:
    """Write all that orders need, here and there; return the seconds until both are."""
    begun = time.perf_counter()
    await asyncio.gather(
        asyncio.to_thread(create_in_sql, dsn, orders, connections=CONNECTIONS),
        client.store(orders, statuses, calls=CALLS_IN_FLIGHT),
    )
    return time.perf_counter() - begun


async def delete(client: Client, dsn: str, orders: Sequence[Order]) -> float:
    """Delete what `create` wrote, all of it; return the seconds until it is gone."""
    begun = time.perf_counter()
    await asyncio.gather(
        asyncio.to_thread(drop, dsn, orders),
        client.delete_all(release=True),
    )
    return time.perf_counter() - begun


def statements(order: Order) -> int:
    """Return how many SQL statements make an order."""
    of_database = *CREATE_DATABASE, *OPEN_DATABASE, *CREATE_SCHEMA
    of_login = *CREATE_LOGIN, *GRANT_INSIDE
    return len(of_database) + len(of_login) * len(order.logins)


def create_in_sql(
    dsn: str, orders: Sequence[Order], *, connections: int
) -> list[float]:
    """Create orders on the server; return how many seconds each one took.

    Each of `connections` workers keeps one session with the maintenance database, and
    opens one with each database that it has created.
    """
    return _shared(dsn, orders, _create, connections=connections)


def drop(dsn: str, orders: Sequence[Order]) -> None:
    """Drop what `create_in_sql` created."""
    _shared(dsn, orders, _drop, connections=CONNECTIONS)


def _shared(
    dsn: str,
    orders: Sequence[Order],
    work: Callable[[str, psycopg.Connection, Order], None],
    *,
    connections: int,
) -> list[float]:
    """Let each worker do its share of the orders; return the seconds of each order."""

    def do_share(share: Sequence[Order]) -> list[float]:
        seconds = []
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            for order in share:
                begun = time.perf_counter()
                work(dsn, connection, order)
                seconds.append(time.perf_counter() - begun)
        return seconds

    shares = [orders[number::connections] for number in range(connections)]
    with ThreadPoolExecutor(connections) as workers:
        return [one for share in workers.map(do_share, shares) for one in share]


def _create(dsn: str, connection: psycopg.Connection, order: Order) -> None:
    """Create an order in as many transactions as the operator needs for it."""
    words = {
        "database": sql.Identifier(order.database_name),
        "schema": sql.Identifier(SCHEMA),
        "mark": sql.Literal(MARK),
        "in_database": sql.SQL(", ").join(map(sql.SQL, IN_DATABASE)),
        "in_schema": sql.SQL(", ").join(map(sql.SQL, IN_SCHEMA)),
    }
    _execute(connection, CREATE_DATABASE, words)
    with connection.transaction():
        _execute(connection, OPEN_DATABASE, words)
    logins = [
        words
        | {
            "role": sql.Identifier(login.role_name),
            "password": sql.Literal(login.password),
        }
        for login in order.logins
    ]
    for login in logins:
        with connection.transaction():
            _execute(connection, CREATE_LOGIN, login)
    inside = make_conninfo(dsn, dbname=order.database_name)
    with closing(psycopg.connect(inside, autocommit=True)) as session:
        _execute(session, CREATE_SCHEMA, words)
        for login in logins:
            _execute(session, GRANT_INSIDE, login)


def _execute(
    connection: psycopg.Connection,
    statements: Sequence[LiteralString],
    words: Mapping[str, sql.Composable],
) -> None:
    for statement in statements:
        connection.execute(sql.SQL(statement).format(**words))


def _drop(dsn: str, connection: psycopg.Connection, order: Order) -> None:
    name = sql.Identifier(order.database_name)
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    for login in order.logins:
        role = sql.Identifier(login.role_name)
        connection.execute(sql.SQL("DROP ROLE {}").format(role))
