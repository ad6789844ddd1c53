"""One number for each role and database, by which a change of it can be told."""

from typing import Final, LiteralString

from pg_operator.api.specs import Kind
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_rows

Place = tuple[Kind, str]
Digests = dict[Place, int]

# Shared catalogs only, so that one session sees it for all databases. Of what depends
# on a role the privileges count, not what it owns: applications make and drop tables.
_DIGESTS: Final[LiteralString] = """
SELECT 'DatabaseRole', r.rolname::text, pg_catalog.hashtextextended(
    pg_catalog.concat_ws('|', r.oid, r.rolsuper, r.rolinherit, r.rolcreaterole,
        r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls,
        r.rolconnlimit, r.rolvaliduntil,
        (SELECT pg_catalog.string_agg(m::text, '|' ORDER BY m::text)
         FROM pg_catalog.pg_auth_members AS m WHERE m.member = r.oid),
        (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(
                    '|', s.setdatabase, number, pair), 0)::numeric)
         FROM pg_catalog.pg_db_role_setting AS s
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
             WITH ORDINALITY AS each (pair, number)
         WHERE s.setrole = r.oid
           AND pg_catalog.octet_length(pair) <= %(longest_setting)s),
        (SELECT c FROM pg_catalog.shobj_description(r.oid, 'pg_authid') AS c
         WHERE pg_catalog.octet_length(c) <= %(longest_comment)s), d.digest), 0)
FROM pg_catalog.pg_roles AS r
LEFT JOIN (
    SELECT refobjid, pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(
               '|', dbid, classid, objid, objsubid), 0)::numeric) AS digest
    FROM pg_catalog.pg_shdepend
    WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND deptype = 'a'
    GROUP BY refobjid) AS d ON d.refobjid = r.oid
UNION ALL
SELECT 'Database', d.datname::text, pg_catalog.hashtextextended(
    pg_catalog.concat_ws('|', d.oid, d.datdba, d.datallowconn, d.datconnlimit, d.datacl,
        (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(
                    '|', number, pair), 0)::numeric)
         FROM pg_catalog.pg_db_role_setting AS s
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
             WITH ORDINALITY AS each (pair, number)
         WHERE s.setdatabase = d.oid AND s.setrole = 0
           AND pg_catalog.octet_length(pair) <= %(longest_setting)s),
        (SELECT c FROM pg_catalog.shobj_description(d.oid, 'pg_database') AS c
         WHERE pg_catalog.octet_length(c) <= %(longest_comment)s), s.digest), 0)
FROM pg_catalog.pg_database AS d
LEFT JOIN (
    SELECT dbid, pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(
               '|', objid, refobjid), 0)::numeric) AS digest
    FROM pg_catalog.pg_shdepend
    WHERE classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND deptype = 'o'
    GROUP BY dbid) AS s ON s.dbid = d.oid
"""


async def observe_digests(connection: Connection) -> Digests:
    """Return a digest of every role and database of the server.

    It differs when attributes, memberships, parameters, the mark, the owner, the
    privileges on a database, its schemas or their owners, or the objects that a role
    holds privileges on do; not when a role holds other privileges on the same object.
    Schemas of the bootstrap superuser are on no record.
    """
    rows = await read_rows(connection, _DIGESTS, **BOUNDS)
    return {(kind, name): digest for kind, name, digest in rows}
