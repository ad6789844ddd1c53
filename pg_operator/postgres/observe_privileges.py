"""Reads who may do what: ACLs in, grants out, nothing written.

A role's privileges are found from pg_shdepend, which lists for each role the objects
that it owns (deptype "o") or whose ACL names it ("a"), instead of by opening every ACL
of the database. A missing ACL means that the owner holds everything; `acldefault` says
what that is. Members of extensions and the schemas of PostgreSQL itself are left out:
nothing of ours is granted there. Default privileges for all schemas are in schema ""; a
role's own have itself in them, as whom it is that owns what it creates.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pg_operator.plan.creators import Creators
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.marks import PREFIX
from pg_operator.postgres.rows import check_bound, read_bounded, read_often, read_rows

_DATABASE_GRANTS: Final = """
SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee)::text,
       d.datname::text, a.privilege_type,
       a.is_grantable OR d.datdba = a.grantee,
       pg_catalog.pg_get_userbyid(a.grantor)::text
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.objid
CROSS JOIN LATERAL pg_catalog.aclexplode(
    coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND s.refobjid = ANY (ARRAY(
      SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ANY (%(roles)s)))
  AND s.deptype IN ('a', 'o')
  AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
  AND a.grantee = s.refobjid
"""

_SCHEMA_GRANTS: Final = """
SELECT n.nspname::text, a.privilege_type, a.is_grantable OR n.nspowner = a.grantee,
       pg_catalog.pg_get_userbyid(a.grantor)::text
FROM pg_catalog.pg_namespace AS n
CROSS JOIN LATERAL pg_catalog.aclexplode(
    coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS a
WHERE n.nspname = ANY (%(schemas)s)
  AND a.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
"""

_HOLDINGS: Final = """
WITH role AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s),
named AS MATERIALIZED (
    SELECT DISTINCT classid, objid, objsubid
    FROM pg_catalog.pg_shdepend AS s
    WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      AND refobjid = (SELECT oid FROM role) AND deptype IN ('a', 'o')
      AND dbid = (SELECT oid FROM pg_catalog.pg_database
                  WHERE datname = pg_catalog.current_database())
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                      WHERE d.classid = s.classid AND d.objid = s.objid
                        AND d.deptype = 'e')),
object AS (
    SELECT 'schema' AS kind, n.oid AS home, '' AS name, '' AS part, '' AS creator,
           n.nspowner AS owner,
           coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)) AS acl
    FROM named
    JOIN pg_catalog.pg_namespace AS n ON n.oid = objid
    WHERE classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END,
           c.relnamespace, c.relname::text, '', '', c.relowner,
           coalesce(c.relacl, pg_catalog.acldefault(
               CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
    FROM named
    JOIN pg_catalog.pg_class AS c ON c.oid = objid
    WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid = 0
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'column', c.relnamespace, c.relname::text, t.attname::text, '',
           c.relowner, t.attacl
    FROM named
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = objid AND t.attnum = objsubid
    JOIN pg_catalog.pg_class AS c ON c.oid = objid
    WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objsubid <> 0
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT t.attisdropped
    UNION ALL
    SELECT 'function', p.pronamespace, pg_catalog.substr(
               p.oid::pg_catalog.regprocedure::text,
               pg_catalog.length(pg_catalog.quote_ident(n.nspname)) + 2),
           '', '', p.proowner,
           coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
    FROM named
    JOIN pg_catalog.pg_proc AS p ON p.oid = objid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT 'type', t.typnamespace, t.typname::text, '', '', t.typowner,
           coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
    FROM named
    JOIN pg_catalog.pg_type AS t ON t.oid = objid
    WHERE classid = 'pg_catalog.pg_type'::pg_catalog.regclass
    UNION ALL
    SELECT CASE d.defaclobjtype WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence'
               WHEN 'f' THEN 'function' WHEN 'T' THEN 'type' ELSE 'schema' END,
           d.defaclnamespace, '*', '', r.rolname::text,
           CASE d.defaclnamespace WHEN 0 THEN d.defaclrole ELSE 0 END, d.defaclacl
    FROM named
    JOIN pg_catalog.pg_default_acl AS d ON d.oid = objid
    JOIN pg_catalog.pg_roles AS r ON r.oid = d.defaclrole
    WHERE classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass
      AND d.defaclobjtype IN ('r', 'S', 'f', 'T', 'n'))
SELECT o.kind, coalesce(n.nspname::text, ''), o.name, o.part, o.creator,
       pg_catalog.array_agg(a.privilege_type),
       pg_catalog.array_agg(a.privilege_type) FILTER (
           WHERE a.is_grantable OR o.owner = a.grantee),
       o.owner = a.grantee, pg_catalog.pg_get_userbyid(a.grantor)::text
FROM object AS o
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = o.home
CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
WHERE a.grantee = (SELECT oid FROM role)
  AND coalesce(n.nspname !~ '^pg_' AND n.nspname <> 'information_schema',
               o.owner <> a.grantee)
  AND (o.owner <> a.grantee OR %(owned_in)s::text[] IS NULL
       OR n.nspname = ANY (%(owned_in)s))
GROUP BY o.kind, n.nspname, o.name, o.part, o.creator, o.owner, a.grantee, a.grantor
"""

# Of the roles that our login may set default privileges for. Managed ones carry our
# mark; a forged one gains its role nothing. What PUBLIC may do concerns only those who
# are let into the database or schema themselves: the others are other tenants'.
_CREATORS: Final = """
SELECT * FROM (
    SELECT n.nspname::text, r.rolname::text, r.oid = d.datdba AS owns_database,
           r.oid = n.nspowner AS owns_schema,
           (r.rolname = ANY (%(managed)s) OR coalesce(pg_catalog.starts_with(
               pg_catalog.shobj_description(r.oid, 'pg_authid'), %(prefix)s), false))
           AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')
           AND EXISTS (
               SELECT FROM pg_catalog.aclexplode(d.datacl || n.nspacl) AS a
               WHERE a.grantee <> 0
                 AND pg_catalog.pg_has_role(r.oid, a.grantee, 'USAGE')) AS writes
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
    CROSS JOIN pg_catalog.pg_roles AS r
    WHERE n.nspname = ANY (%(schemas)s) AND r.rolname !~ '^pg_'
      AND (r.rolname = ANY (%(managed)s)
           OR pg_catalog.pg_has_role(r.oid, 'USAGE'))) AS candidates
WHERE owns_database OR owns_schema OR writes
"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a role holds itself inside a database, and on what of it as the owner.

    What it inherits or PUBLIC holds does not count. `granted_by` says who granted it.
    """

    grants: Grants = frozenset()
    owned: frozenset[Securable] = frozenset()
    granted_by: Mapping[str, Grants] = field(default_factory=dict)


async def observe_holdings(
    connection: Connection, role: str, *, owned_in: Collection[str] | None = None
) -> Holdings:
    """Read what a role holds itself inside the connected database.

    What it holds as an owner, which is everything that an application made, is read
    in the schemas `owned_in` only; None for all.

    Raises:
        DatabaseTooLarge: that is more than is read.
    """
    database = connection.info.dbname
    owned = set[Securable]()
    granted_by: defaultdict[str, set[Grant]] = defaultdict(set)
    what = "privileges of the role"
    rows = await read_bounded(
        connection,
        _HOLDINGS,
        what=what,
        role=role,
        owned_in=None if owned_in is None else sorted(owned_in),
    )
    check_bound(sum(len(words) for *_, words, _, _, _ in rows), what=what)
    for kind, *names, words, grantable, is_owner, grantor in rows:
        on = Securable(kind, database, *names)
        held = granted_by[grantor]
        held.update(Grant(on, word) for word in words)
        # An owner may always pass on what it has.
        held.update(Grant(on, word, grantable=True) for word in grantable or ())
        if is_owner:
            owned.add(on)
    return Holdings(
        frozenset[Grant]().union(*granted_by.values()),
        frozenset(owned),
        {grantor: frozenset(grants) for grantor, grants in granted_by.items()},
    )


async def observe_creators(
    connection: Connection, schemas: Collection[str], *, managed: Collection[str] = ()
) -> dict[str, Creators]:
    """Read who creates objects in schemas of the connected database.

    As far as our login may set default privileges for them, and with roles that are
    to count as if they were `managed` already.
    """
    found = {schema: Creators() for schema in schemas}
    for schema, role, owns_database, owns_schema, writes in await read_rows(
        connection,
        _CREATORS,
        schemas=list(schemas),
        prefix=PREFIX,
        managed=list(managed),
    ):
        known = found[schema]
        found[schema] = Creators(
            database_owner=role if owns_database else known.database_owner,
            schema_owner=role if owns_schema else known.schema_owner,
            writers=known.writers | ({role} if writes else set()),
        )
    return found


async def observe_database_holdings(
    connection: Connection, roles: Collection[str]
) -> dict[str, Holdings]:
    """Read what roles hold themselves on databases, and by whom, from any database."""
    found: dict[str, defaultdict[str, set[Grant]]] = {
        role: defaultdict(set) for role in roles
    }
    for role, database, privilege, grantable, grantor in await read_often(
        connection, _DATABASE_GRANTS, roles=[*roles]
    ):
        on = Securable("database", database)
        if role in found:  # and was not renamed meanwhile
            found[role][grantor] |= _held(on, privilege, grantable=grantable)
    return {role: _holdings(granted_by) for role, granted_by in found.items()}


async def observe_schema_holdings(
    connection: Connection, role: str, *, schemas: Collection[str]
) -> Holdings:
    """Read what a role holds itself on schemas of the connected database.

    For a new session all that `observe_holdings` asks is much dearer to plan.
    """
    granted_by: defaultdict[str, set[Grant]] = defaultdict(set)
    for schema, privilege, grantable, grantor in await read_rows(
        connection, _SCHEMA_GRANTS, role=role, schemas=sorted(schemas)
    ):
        on = Securable("schema", connection.info.dbname, schema)
        granted_by[grantor] |= _held(on, privilege, grantable=grantable)
    return _holdings(granted_by)


def _holdings(granted_by: Mapping[str, set[Grant]]) -> Holdings:
    return Holdings(
        frozenset[Grant]().union(*granted_by.values()),
        granted_by={name: frozenset(grants) for name, grants in granted_by.items()},
    )


def _held(on: Securable, privilege: str, *, grantable: bool) -> set[Grant]:
    held = Grant(on, privilege)
    return {held, held._replace(grantable=True)} if grantable else {held}
