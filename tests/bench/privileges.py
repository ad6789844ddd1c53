"""Roles of a database with 10,000 tables: the operator beside plain SQL.

The roles are reconciled as the operator does it, on a real server; their objects are
in memory.
"""

import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Key
from tests.bench.report import spread
from tests.integration.postgres_bed import running_server
from tests.integration.reconcile_bed import MAIN, Stage, on_stage
from tests.localcluster.postgres import PostgresOptions
from tests.localcluster.progress import Progress

TABLES: Final = 10_000
DATABASE, SCHEMA, NAMESPACE = "warehouse", "app", "shop"
WORDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

EVERY_ACL: Final[LiteralString] = """
SELECT c.relname, a.privilege_type, a.is_grantable
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE a.grantee = %(role)s::regrole
"""
NAMED_IN: Final[LiteralString] = """
SELECT c.relname, a.privilege_type, a.is_grantable
FROM pg_shdepend AS s JOIN pg_class AS c ON c.oid = s.objid
CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %(role)s::regrole
  AND s.deptype = 'a' AND s.classid = 'pg_class'::regclass AND a.grantee = s.refobjid
  AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
MISSING: Final[LiteralString] = """
SELECT c.relname, w.word
FROM pg_class AS c
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS w (word)
WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) AS a
                  WHERE a.grantee = %(role)s::regrole AND a.privilege_type = w.word)
"""

ROWS: Final = (
    ("14 privileges, unchanged: every ACL opened", "few: every ACL"),
    ("14 privileges, unchanged: begun at pg_shdepend", "few: named in"),
    ("14 privileges, unchanged: reconciled by pg-operator", "few: reconcile"),
    ("`*`, unchanged: every ACL opened", "each: every ACL"),
    ("`*`, unchanged: begun at pg_shdepend", "each: named in"),
    ("`*`, unchanged: only what is missing", "each: missing"),
    ("`*`, unchanged: reconciled by pg-operator", "each: reconcile"),
    ("`*`, granted: ON ALL TABLES IN SCHEMA", "new: all tables"),
    ("`*`, granted: 1,000 names a statement", "new: by name"),
    ("`*`, a new role reconciled by pg-operator", "new: reconcile"),
)


async def measure(progress: Progress, *, rounds: int) -> str:
    """Measure on a server of its own; return a Markdown table."""
    with running_server(PostgresOptions(durable=True)) as server:
        async with on_stage(server.admin_dsn) as stage:
            bench = Bench(stage, server.admin_dsn)
            with progress.step(f"creating {TABLES:,} tables"):
                await bench.prepare()
            measured = []
            for number in range(1, rounds + 1):
                with progress.step(f"round {number} of {rounds}"):
                    measured.append(await bench.round())
    lines = [
        f"| {what} | {spread([1000 * one[name] for one in measured])} |"
        for what, name in ROWS
    ]
    return "\n".join((f"| {TABLES:,} tables | ms |", "|---|---|", *lines))


class Bench:
    """A database with many tables, a role with 14 privileges and one with all."""

    def __init__(self, stage: Stage, dsn: str) -> None:
        """Work on the server of `dsn`, which is the stage's."""
        self._stage = stage
        self._dsn = make_conninfo(dsn, dbname=DATABASE)

    async def prepare(self) -> None:
        """Create the database and the roles as tenants do, and go through all once."""
        spec = {"name": DATABASE, "schema": SCHEMA, **MAIN}
        await self._reconcile("Database", DATABASE, spec)
        async with await self._connect() as connection:
            create = sql.SQL("CREATE TABLE {} (id int)")
            for tables in _thousands():
                async with connection.transaction():
                    for table in tables:
                        await connection.execute(create.format(_in_schema(table)))
            await self._role("few", _tables(7), WORDS[:2])
            await self._role("each", ["*"], WORDS)
            await connection.execute("VACUUM ANALYZE")
        await self.round()

    async def round(self) -> dict[str, float]:
        """Measure everything once, in turns; return the seconds."""
        async with await self._connect() as connection:
            seconds = {
                f"{role}: {what}": await _timed(_fetch(connection, query, role))
                for role in ("few", "each")
                for what, query in (
                    ("every ACL", EVERY_ACL),
                    ("named in", NAMED_IN),
                    ("missing", MISSING),
                )
            }
            for what, targets in (
                ("all tables", [_all_tables()]),
                ("by name", [_named(tables) for tables in _thousands()]),
            ):
                await connection.execute(
                    "CREATE ROLE plain; GRANT plain TO CURRENT_USER"
                )
                seconds[f"new: {what}"] = await _timed(_grant(connection, targets))
                await connection.execute("DROP OWNED BY plain; DROP ROLE plain")
        few = self._role("few", _tables(7), WORDS[:2])
        seconds["few: reconcile"] = await _timed(few)
        seconds["each: reconcile"] = await _timed(self._role("each", ["*"], WORDS))
        seconds["new: reconcile"] = await _timed(self._role("new", ["*"], WORDS))
        await self._drop("new")
        return seconds

    async def _role(
        self, name: str, tables: Sequence[str], words: Sequence[str]
    ) -> None:
        entries = [{"name": table, "privileges": list(words)} for table in tables]
        schema = {"name": SCHEMA, "tables": entries}
        permission = {"database": DATABASE, "schemas": [schema]}
        spec = {"roleName": name, "permissions": [permission], **MAIN}
        await self._reconcile("DatabaseRole", name, spec)

    async def _reconcile(self, kind: Kind, name: str, spec: dict[str, Any]) -> None:
        key = self._stage.put(kind, name, spec, namespace=NAMESPACE)
        reason, message, _ = await self._stage.reconcile(key)
        assert reason == "Reconciled", message

    async def _drop(self, name: str) -> None:
        key = Key("DatabaseRole", NAMESPACE, name)
        self._stage.delete(key)
        await self._stage.reconcile(key)
        self._stage.remove(key)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)


def _tables(count: int) -> list[str]:
    return [f"table_{number:05}" for number in range(count)]


def _thousands() -> list[list[str]]:
    tables = _tables(TABLES)
    return [tables[first : first + 1000] for first in range(0, TABLES, 1000)]


def _in_schema(table: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, table)


def _all_tables() -> sql.Composed:
    return sql.SQL("ALL TABLES IN SCHEMA {}").format(sql.Identifier(SCHEMA))


def _named(tables: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(_in_schema, tables))


async def _fetch(
    connection: psycopg.AsyncConnection[Any], query: LiteralString, role: str
) -> None:
    cursor = await connection.execute(query, {"role": role})
    await cursor.fetchall()


async def _grant(
    connection: psycopg.AsyncConnection[Any], targets: Sequence[sql.Composed]
) -> None:
    words = sql.SQL(", ").join(map(sql.SQL, WORDS))
    async with connection.transaction():
        for target in targets:
            grant = sql.SQL("GRANT {} ON {} TO plain").format(words, target)
            await connection.execute(grant)


async def _timed(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun
