"""The floor: the SQL that an item needs, sent by nothing but psycopg."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.cluster.items import IN_DATABASE, IN_SCHEMA, SCHEMA, Item

CONNECTIONS = 4
STATEMENTS = 6


def create(dsn: str, items: Sequence[Item], *, connections: int) -> list[float]:
    """Create items on the server; return how many seconds each one took.

    Each of `connections` workers keeps one session with the maintenance database, and
    opens one with each database that it has created.
    """
    return _shared(dsn, items, _create, connections=connections)


def drop(dsn: str, items: Sequence[Item]) -> None:
    """Drop what `create` created."""
    _shared(dsn, items, _drop, connections=CONNECTIONS)


def _shared(
    dsn: str,
    items: Sequence[Item],
    work: Callable[[str, psycopg.Connection, Item], None],
    *,
    connections: int,
) -> list[float]:
    """Let each worker do its share of the items; return the seconds of each item."""

    def do_share(share: Sequence[Item]) -> list[float]:
        seconds = []
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            for item in share:
                begun = time.perf_counter()
                work(dsn, connection, item)
                seconds.append(time.perf_counter() - begun)
        return seconds

    shares = [items[number::connections] for number in range(connections)]
    with ThreadPoolExecutor(connections) as workers:
        return [one for share in workers.map(do_share, shares) for one in share]


def _create(dsn: str, connection: psycopg.Connection, item: Item) -> None:
    name = sql.Identifier(item.postgres_name)
    in_database, in_schema = (
        sql.SQL(", ").join(map(sql.SQL, words)) for words in (IN_DATABASE, IN_SCHEMA)
    )
    schema = sql.Identifier(SCHEMA)
    for statement in (
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            name, sql.Literal(item.password)
        ),
        sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name),
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name),
        sql.SQL("GRANT {} ON DATABASE {} TO {}").format(in_database, name, name),
    ):
        connection.execute(statement)
    inside = make_conninfo(dsn, dbname=item.postgres_name)
    with closing(psycopg.connect(inside, autocommit=True)) as session:
        session.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        session.execute(
            sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(in_schema, schema, name)
        )


def _drop(dsn: str, connection: psycopg.Connection, item: Item) -> None:
    name = sql.Identifier(item.postgres_name)
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    connection.execute(sql.SQL("DROP ROLE {}").format(name))
