"""Locks that keep our GRANT and REVOKE from failing what applications do meanwhile.

Up to PostgreSQL 17 they lock no table: the one of GRANT and ALTER TABLE that comes
second fails with "tuple concurrently updated", and that may be the application's. From
18 on they lock table by table, and may deadlock with a migration, which may lose.
"""

from typing import Final, LiteralString

from psycopg import sql

from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.quote import quote_name
from pg_operator.postgres.rows import read_rows

LONGEST_WAIT: Final = "100ms"
# What LOCK TABLE takes (a view would lock what it reads as well), and what it lets us.
_LOCKABLE: Final[LiteralString] = """
SELECT c.relname::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s)
  AND c.relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY c.relname
"""


def is_on_tables(operation: GrantPrivileges | RevokePrivileges) -> bool:
    """Tell whether the tables of a statement are to be locked before it."""
    return operation.kind in {"table", "column"}


async def lock_tables(
    connection: Connection, operation: GrantPrivileges | RevokePrivileges
) -> None:
    """Lock the tables of a statement until the transaction ends, all or none.

    Each is waited for so briefly that we give up before a server looks for deadlocks
    (deadlock_timeout, a second unless set): who loses one is never the application.

    Raises:
        psycopg.errors.LockNotAvailable: somebody is changing one of them.
    """
    if not is_on_tables(operation):
        return
    schema = operation.on[0].schema
    names = sorted({on.name for on in operation.on})
    rows = await read_rows(connection, _LOCKABLE, schema=schema, names=names)
    if rows:
        tables = (quote_name(schema, name) for (name,) in rows)
        await connection.execute(
            sql.SQL(
                "SET LOCAL lock_timeout TO {};"
                "LOCK TABLE ONLY {} IN ACCESS SHARE MODE;"
                "SET LOCAL lock_timeout TO DEFAULT"
            ).format(sql.Literal(LONGEST_WAIT), sql.SQL(", ONLY ").join(tables))
        )
