"""Reads what there is to grant on inside a database, as far as it is asked for.

Members of extensions are left out: nothing of ours is granted on them.
"""

from collections.abc import Collection, Sequence
from typing import Final

import psycopg

from pg_operator.api.specs import WILDCARD
from pg_operator.plan.grants import Securable
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_bounded, read_rows

# Of the schemas in `all_tables` every table, else those that are named; so for the
# sequences. Columns are those of named tables.
_OBJECTS: Final = """
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END,
       n.nspname::text, c.relname::text, ''
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s)
  AND CASE WHEN c.relkind = 'S'
      THEN n.nspname = ANY (%(all_sequences)s) OR (n.nspname, c.relname) IN (
          SELECT * FROM ROWS FROM (pg_catalog.unnest(%(in)s::text[]),
                                   pg_catalog.unnest(%(names)s::text[])))
      WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
      THEN n.nspname = ANY (%(all_tables)s) OR (n.nspname, c.relname) IN (
          SELECT * FROM ROWS FROM (pg_catalog.unnest(%(in)s::text[]),
                                   pg_catalog.unnest(%(names)s::text[])))
      ELSE false END
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND d.objid = c.oid AND d.deptype = 'e')
"""

# The server writes a signature outside of pg_catalog with its schema before it.
_SIGNATURES: Final = """
SELECT w.number, pg_catalog.substr(
           p.oid::pg_catalog.regprocedure::text,
           pg_catalog.length(pg_catalog.quote_ident(n.nspname)) + 2)
FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]),
                pg_catalog.unnest(%(names)s::text[]))
    WITH ORDINALITY AS w (of_schema, name, number)
JOIN pg_catalog.pg_proc AS p ON p.oid = pg_catalog.to_regprocedure(
    pg_catalog.quote_ident(w.of_schema) || '.' || w.name)
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    AND n.nspname = w.of_schema
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                    AND d.objid = p.oid AND d.deptype = 'e')
"""

_FUNCTIONS: Final = """
SELECT n.nspname::text, pg_catalog.substr(
           p.oid::pg_catalog.regprocedure::text,
           pg_catalog.length(pg_catalog.quote_ident(n.nspname)) + 2)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = ANY (%(schemas)s)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                    AND d.objid = p.oid AND d.deptype = 'e')
"""

# Without those that come with another: of tables and their arrays, and multiranges.
_TYPES: Final = """
SELECT n.nspname::text, t.typname::text
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
WHERE (n.nspname = ANY (%(all)s) OR (n.nspname, t.typname) IN (
          SELECT * FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]),
                                   pg_catalog.unnest(%(names)s::text[]))))
  AND t.typtype IN ('b', 'c', 'd', 'e', 'r') AND coalesce(c.relkind, 'c') = 'c'
  AND t.typisdefined
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS e WHERE e.typarray = t.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
                    AND d.objid = t.oid AND d.deptype = 'e')
"""

_COLUMNS: Final = """
SELECT w.of_schema, w.of_table, w.name
FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]),
                pg_catalog.unnest(%(tables)s::text[]),
                pg_catalog.unnest(%(names)s::text[]))
    AS w (of_schema, of_table, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.of_schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.of_table
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_catalog.pg_attribute AS t ON t.attrelid = c.oid AND t.attname = w.name
    AND t.attnum > 0 AND NOT t.attisdropped
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND d.objid = c.oid AND d.deptype = 'e')
"""


async def observe_objects(
    connection: Connection, wanted: Collection[Securable]
) -> frozenset[Securable]:
    """Read which of the wanted objects exist in the connected database.

    `*` is every object of its kind in the schema.
    """
    columns = [on for on in wanted if on.kind == "column"]
    relations = [on for on in wanted if on.kind in {"table", "sequence"}]
    found = await _observe_relations(connection, relations) if relations else set()
    if columns:
        found |= await _observe_columns(connection, columns)
    if types := [on for on in wanted if on.kind == "type"]:
        found |= await _observe_types(connection, types)
    functions = [on for on in wanted if on.kind == "function" and on.name == WILDCARD]
    if functions:
        found |= await _observe_functions(connection, functions)
    return frozenset(found)


async def resolve_functions(
    connection: Connection, wanted: Collection[Securable]
) -> dict[Securable, Securable]:
    """Find the functions that signatures mean, and how the server writes them.

    Types outside of pg_catalog must be written with their schema.
    """
    named = [on for on in wanted if on.kind == "function" and on.name != WILDCARD]
    if not named:
        return {}
    try:
        return await _resolve(connection, named)
    except psycopg.Error as error:
        if not _is_about_text(error):
            raise
    # PostgreSQL up to 15 raises for what is no signature, and for all with it.
    found: dict[Securable, Securable] = {}
    for on in named:
        try:
            found |= await _resolve(connection, [on])
        except psycopg.Error as error:
            if not _is_about_text(error):
                raise
    return found


async def _resolve(
    connection: Connection, wanted: Sequence[Securable]
) -> dict[Securable, Securable]:
    rows = await read_rows(
        connection,
        _SIGNATURES,
        schemas=[on.schema for on in wanted],
        names=[on.name for on in wanted],
    )
    return {
        wanted[number - 1]: wanted[number - 1]._replace(name=name)
        for number, name in rows
    }


def _is_about_text(error: psycopg.Error) -> bool:
    return (error.sqlstate or "")[:2] in {"0A", "22", "42", "54"}


async def _observe_functions(
    connection: Connection, wanted: Collection[Securable]
) -> set[Securable]:
    rows = await read_bounded(
        connection,
        _FUNCTIONS,
        what="functions",
        schemas=[on.schema for on in wanted],
    )
    return {Securable("function", connection.info.dbname, *names) for names in rows}


async def _observe_types(
    connection: Connection, wanted: Collection[Securable]
) -> set[Securable]:
    named = [on for on in wanted if on.name != WILDCARD]
    rows = await read_bounded(
        connection,
        _TYPES,
        what="types",
        all=[on.schema for on in wanted if on.name == WILDCARD],
        schemas=[on.schema for on in named],
        names=[on.name for on in named],
    )
    return {Securable("type", connection.info.dbname, *names) for names in rows}


async def _observe_relations(
    connection: Connection, wanted: Collection[Securable]
) -> set[Securable]:
    named = [on for on in wanted if on.name != WILDCARD]
    everything = [on for on in wanted if on.name == WILDCARD]
    rows = await read_bounded(
        connection,
        _OBJECTS,
        what="tables and sequences",
        schemas=sorted({on.schema for on in wanted}),
        all_tables=[on.schema for on in everything if on.kind == "table"],
        all_sequences=[on.schema for on in everything if on.kind == "sequence"],
        **{"in": [on.schema for on in named]},
        names=[on.name for on in named],
    )
    database = connection.info.dbname
    return {Securable(kind, database, *names) for kind, *names in rows}


async def _observe_columns(
    connection: Connection, wanted: Collection[Securable]
) -> set[Securable]:
    rows = await read_rows(
        connection,
        _COLUMNS,
        schemas=[on.schema for on in wanted],
        tables=[on.name for on in wanted],
        names=[on.column for on in wanted],
    )
    return {Securable("column", connection.info.dbname, *names) for names in rows}
