"""Reads databases from outside: rows of pg_database and marks in, states out."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pg_operator.plan.state import UNSET, DatabaseState, Locale
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe_parameters import split_settings
from pg_operator.postgres.rows import read_often

# Columns for the locale came with 15 (ICU) and 17 (builtin), so they are asked for by
# name in JSON.
_DATABASES: Final = """
SELECT d.datname::text, d.oid::bigint, r.rolname::text,
       pg_catalog.pg_encoding_to_char(d.encoding)::text,
       d.datallowconn, d.datconnlimit,
       ARRAY(SELECT a.privilege_type
             FROM pg_catalog.aclexplode(
                 coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a
             WHERE a.grantee = 0),
       ARRAY(SELECT pair FROM (
                 SELECT pair, pg_catalog.sum(pg_catalog.octet_length(pair))
                                  OVER (ORDER BY number) AS total
                 FROM pg_catalog.pg_db_role_setting AS s
                 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
                     WITH ORDINALITY AS each (pair, number)
                 WHERE s.setdatabase = d.oid AND s.setrole = 0
                   AND pg_catalog.octet_length(pair) <= %(longest_setting)s
             ) AS settings WHERE total <= %(longest_settings)s),
       (SELECT c FROM pg_catalog.shobj_description(d.oid, 'pg_database') AS c
        WHERE pg_catalog.octet_length(c) <= %(longest_comment)s),
       coalesce(j.row ->> 'datlocprovider', 'c'),
       coalesce(j.row ->> 'datlocale', j.row ->> 'daticulocale', d.datcollate::text),
       t.spcname::text
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(d) AS row) AS j
LEFT JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba
WHERE d.datname = ANY (%(names)s)
"""

_PROVIDERS: Final[Mapping[str, str]] = {"c": "libc", "i": "icu", "b": "builtin"}


async def observe_databases(
    connection: Connection,
    names: Collection[str],
    *,
    keyring: Keyring,
    bounds: Mapping[str, int] = BOUNDS,
) -> dict[str, DatabaseState]:
    """Read the rows and marks of databases, from any database; schemas stay empty.

    What is longer than `bounds` allow counts as not there.
    The names of settings are in lower case, as PostgreSQL compares them. A connection
    limit of -2 says that a DROP DATABASE was interrupted.
    """
    states = {name: DatabaseState(name, exists=False, mark=None) for name in names}
    if states:
        rows = await read_often(connection, _DATABASES, names=[*states], **bounds)
        states |= {name: _state(name, row, keyring) for name, *row in rows}
    return states


async def observe_database(
    connection: Connection, name: str, *, keyring: Keyring
) -> DatabaseState:
    """Read the row and mark of one database."""
    return (await observe_databases(connection, [name], keyring=keyring))[name]


def _state(name: str, row: Collection[Any], keyring: Keyring) -> DatabaseState:
    oid, owner, encoding, allows, limit, public, settings, comment, *made = row
    provider, locale, tablespace = made
    mark = keyring.open_comment(comment, on=f"database:{name}")
    return DatabaseState(
        name,
        oid=oid,
        owner=owner if owner is not None else UNSET,
        encoding=encoding,
        locale=Locale(_PROVIDERS.get(provider), locale),
        tablespace=tablespace,
        allow_connections=allows,
        connection_limit=limit,
        public_privileges=frozenset(public),
        settings=split_settings(settings),
        mark=mark,
        comment=comment if mark is None else None,
    )
