"""What depends on a role, taken on in transactions that hold a bounded number of locks.

PostgreSQL keeps a lock on every relation that REASSIGN OWNED gives away and on every
policy that DROP OWNED drops until the transaction ends, in a table of fixed size. All
other kinds of objects it handles without locks that are kept (tried on 15 and 18), so
what is left here is for the one statement again.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, LiteralString

from psycopg import sql

from pg_operator.plan.operations import DropOwned, ReassignOwned
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import OutOfLocks, Transient
from pg_operator.postgres.quote import quote_name, quote_role
from pg_operator.postgres.rows import read_rows

# In one go: as many as 65,536 objects, if there is room for 256 locks.
MOST_PIECES: Final = 256

# Sequences of columns go with their tables, and cannot be given away by themselves. A
# composite type is a relation, too.
_OWNED: Final[LiteralString] = """
SELECT n.nspname::text, c.relname::text, c.relkind = 'c',
       pg_catalog.has_schema_privilege(
           (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(to)s),
           n.oid, 'CREATE')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND d.objid = c.oid AND c.relkind = 'S'
                    AND d.refclassid = d.classid AND d.deptype IN ('a', 'i'))
ORDER BY n.nspname, c.relname
LIMIT %(most)s
"""

_POLICIES: Final[LiteralString] = """
SELECT n.nspname::text, c.relname::text, p.polname::text,
       ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
             WHERE r.oid = ANY (p.polroles) AND r.rolname <> %(role)s)
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_policy AS p ON p.oid = s.objid
JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
  AND s.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
  AND s.dbid = (SELECT oid FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database())
ORDER BY n.nspname, c.relname, p.polname
LIMIT %(most)s
"""

Row = tuple[Any, ...]
Piece = Callable[[Connection, int], Awaitable[int]]


def piece_of(operation: ReassignOwned | DropOwned) -> Piece:
    """Return what does a part of an operation in a transaction that is open.

    It is given how many objects to take on at most, and returns how many it did.
    """
    if isinstance(operation, ReassignOwned):
        return partial(_give_away, operation)
    return partial(_drop_policies, operation)


async def take_on(piece: Callable[[int], Awaitable[int]], *, most: int) -> None:
    """Repeat a piece of at most `most` objects, or fewer if locks run out, to the end.

    What the last one left, or somebody made meanwhile, is for the statement that
    follows.

    Raises:
        OutOfLocks: there is no room for a single one.
        Transient: there is always more: somebody makes it, for as long as we go on.
    """
    for _ in range(MOST_PIECES):
        try:
            if await piece(most) < most:
                return
        except OutOfLocks:
            if most == 1:
                raise
            most //= 2
    raise Transient("there are ever more objects; the rest is taken on in a while")


async def _give_away(
    operation: ReassignOwned, connection: Connection, most: int
) -> int:
    to = operation.to
    rows = await read_rows(connection, _OWNED, role=operation.role, to=to, most=most)
    closed = sorted({schema for schema, *_, may_create in rows if not may_create})
    await _run(connection, [_open(schema, to) for schema in closed])
    await _run(connection, [_give(row, to) for row in rows])
    await _run(connection, [_close(schema, to) for schema in closed])
    return len(rows)


async def _drop_policies(
    operation: DropOwned, connection: Connection, most: int
) -> int:
    rows = await read_rows(connection, _POLICIES, role=operation.role, most=most)
    await _run(connection, [_forget(row) for row in rows])
    return len(rows)


def _open(schema: str, to: str) -> sql.Composed:
    """Let a new owner create in a schema: ALTER TABLE asks for it, REASSIGN does not.

    Nobody ever sees it: it is taken back in the same transaction.
    """
    return sql.SQL("GRANT CREATE ON SCHEMA {} TO {}").format(
        quote_name(schema), quote_role(to)
    )


def _close(schema: str, to: str) -> sql.Composed:
    return sql.SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(
        quote_name(schema), quote_role(to)
    )


def _give(row: Row, to: str) -> sql.Composed:
    schema, name, is_type, _ = row
    # ALTER TABLE takes every other kind of relation.
    kind = sql.SQL("TYPE" if is_type else "TABLE")
    return sql.SQL("ALTER {} {} OWNER TO {}").format(
        kind, quote_name(schema, name), quote_role(to)
    )


def _forget(row: Row) -> sql.Composed:
    """Drop a policy that names only the role; of another take the role out."""
    schema, table, policy, others = row
    place = {"policy": quote_name(policy), "table": quote_name(schema, table)}
    if not others:
        return sql.SQL("DROP POLICY {policy} ON {table}").format(**place)
    roles = sql.SQL(", ").join(map(quote_role, others))
    return sql.SQL("ALTER POLICY {policy} ON {table} TO {roles}").format(
        **place, roles=roles
    )


async def _run(connection: Connection, statements: Sequence[sql.Composed]) -> None:
    if statements:
        await connection.execute(sql.SQL(";").join(statements))
