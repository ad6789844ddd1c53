"""Reads what there is on a server, and of it what no object of ours can say."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_bounded, read_rows

_DATABASES: Final = """
SELECT d.datname::text, pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datistemplate,
       CASE WHEN d.datctype <> d.datcollate THEN d.datctype::text END
FROM pg_catalog.pg_database AS d
WHERE d.datname NOT IN ('template0', 'template1')
ORDER BY 1
"""

# From 16 on a role must be told of by name to whoever may alter it.
_ROLES: Final = """
SELECT r.rolname::text,
       me.rolsuper OR (me.rolcreaterole AND (
           pg_catalog.current_setting('server_version_num')::int < 160000
           OR pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')))
FROM pg_catalog.pg_roles AS r
JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
WHERE r.rolname !~ '^pg_'
ORDER BY 1
"""

# What stands before the = is of ASCII; the rest, in whatever encoding it was written,
# would fail a function of text.
_HIDDEN_SETTINGS: Final = """
SELECT coalesce(d.datname::text, ''), coalesce(r.rolname::text, ''), name
FROM (
    SELECT s.setdatabase, s.setrole, size,
           pg_catalog.substr(pg_catalog.textsend(pair), 1, 128) AS name,
           pg_catalog.sum(size) FILTER (WHERE size <= %(longest_setting)s) OVER (
               PARTITION BY s.setrole,
                            CASE WHEN s.setrole = 0 THEN s.setdatabase END
               ORDER BY s.setdatabase, number) AS total
    FROM pg_catalog.pg_db_role_setting AS s
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
        WITH ORDINALITY AS each (pair, number)
    CROSS JOIN LATERAL pg_catalog.octet_length(pair) AS size) AS s
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
WHERE size > %(longest_setting)s OR total > %(longest_settings)s
ORDER BY 1, 2, 3
"""

_SHARED_SETTINGS: Final = """
SELECT DISTINCT pg_catalog.substr(pg_catalog.textsend(pair), 1, 128)
FROM pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS pair
WHERE s.setdatabase = 0 AND s.setrole = 0
ORDER BY 1
"""

_GRANTED_INSIDE: Final = """
SELECT DISTINCT r.rolname::text, d.datname::text
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid
JOIN pg_catalog.pg_roles AS r ON r.oid = s.refobjid
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'a'
"""

_OUTSIDE: Final = """
SELECT r.rolname::text,
       pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid)
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_roles AS r ON r.oid = s.refobjid
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = s.objid
    AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = s.objid
    AND s.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = s.objid
    AND s.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_default_acl AS a ON a.oid = s.objid
    AND s.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass
    AND a.defaclobjtype IN ('r', 'S', 'f', 'T', 'n')
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = coalesce(
    c.relnamespace, p.pronamespace, t.typnamespace, a.defaclnamespace,
    CASE s.classid WHEN 'pg_catalog.pg_namespace'::pg_catalog.regclass
         THEN s.objid END)
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'a'
  AND r.rolname !~ '^pg_'
  AND CASE WHEN %(shared)s
      THEN s.dbid = 0 AND s.classid <> 'pg_catalog.pg_database'::pg_catalog.regclass
      ELSE s.dbid = (SELECT oid FROM pg_catalog.pg_database
                     WHERE datname = pg_catalog.current_database()) END
  AND ((n.nspname IS NULL AND a.oid IS NULL) OR n.nspname ~ '^pg_'
       OR n.nspname = 'information_schema'
       OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                  WHERE d.classid = s.classid AND d.objid = s.objid
                    AND d.deptype = 'e'))
ORDER BY 1, 2
"""

# What everybody may do beyond what PostgreSQL gives when something is created.
_PUBLIC: Final = """
SELECT held.words || ' on ' || CASE WHEN held.objects = 1 THEN held.name
           ELSE held.objects || ' tables and sequences of schema ' || held.home END
FROM (
    SELECT pg_catalog.string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
               AS words,
           'schema ' || n.nspname AS name, n.nspname AS home, 1 AS objects
    FROM pg_catalog.pg_namespace AS n
    CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) AS a
    WHERE a.grantee = 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND n.nspname <> 'public'
    GROUP BY n.nspname
    UNION ALL
    SELECT each.words, pg_catalog.min('table or sequence ' || each.relname
               || ' of schema ' || each.nspname), each.nspname, pg_catalog.count(*)
    FROM (
        SELECT n.nspname, c.relname,
               pg_catalog.string_agg(a.privilege_type, ', '
                                     ORDER BY a.privilege_type) AS words
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
        WHERE a.grantee = 0 AND n.nspname !~ '^pg_'
          AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                            AND d.objid = c.oid AND d.deptype = 'e')
        GROUP BY n.nspname, c.relname) AS each
    GROUP BY each.nspname, each.words) AS held
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class NamedDatabase:
    """A database of the server, and what of it no object says.

    `is_alterable` tells whether the login has the rights of its owner; `ctype` is its
    LC_CTYPE when that is not its LC_COLLATE.
    """

    name: str
    is_alterable: bool
    is_template: bool
    ctype: str | None


async def observe_database_names(connection: Connection) -> list[NamedDatabase]:
    """Read which databases there are, without the templates of PostgreSQL's own."""
    return [NamedDatabase(*row) for row in await read_rows(connection, _DATABASES)]


async def observe_role_names(connection: Connection) -> dict[str, bool]:
    """Read which roles there are, without predefined ones, and which we may alter."""
    return dict(await read_rows(connection, _ROLES))


async def observe_hidden_settings(
    connection: Connection, *, bounds: Mapping[str, int] = BOUNDS
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Read the names of parameters that are too long, or too many, to be read.

    By database ("" for all) and role ("" for all).
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for database, role, pair in await read_rows(connection, _HIDDEN_SETTINGS, **bounds):
        found[database, role].append(_parameter(pair))
    return {place: tuple(names) for place, names in found.items()}


async def observe_shared_settings(connection: Connection) -> tuple[str, ...]:
    """Read the names of parameters that are set for all roles in all databases."""
    rows = await read_rows(connection, _SHARED_SETTINGS)
    return tuple(dict.fromkeys(_parameter(pair) for (pair,) in rows))


def _parameter(pair: bytes) -> str:
    """Return the name in the beginning of a setting."""
    return pair.partition(b"=")[0].decode("utf-8", "backslashreplace")


async def observe_granted_inside(connection: Connection) -> dict[str, frozenset[str]]:
    """Read, by role, inside which databases it was granted anything."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for role, database in await read_rows(connection, _GRANTED_INSIDE):
        found[role].add(database)
    return {role: frozenset(databases) for role, databases in found.items()}


async def observe_outside(
    connection: Connection, *, shared: bool
) -> dict[str, tuple[str, ...]]:
    """Describe, by role, the objects of which no permission can speak.

    Those of the connected database in whose ACL a role is: of PostgreSQL's own, of
    extensions, of kinds such as languages and large objects; with `shared` instead
    tablespaces and the like, which are of no database.

    Raises:
        DatabaseTooLarge: these are more than is read.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    rows = await read_bounded(
        connection, _OUTSIDE, what="privileges on other objects", shared=shared
    )
    for role, text in rows:
        found[role].append(text)
    return {role: tuple(dict.fromkeys(texts)) for role, texts in found.items()}


async def observe_public(connection: Connection) -> tuple[str, ...]:
    """Describe what PUBLIC was given on schemas, tables and sequences."""
    return tuple(text for (text,) in await read_rows(connection, _PUBLIC))
