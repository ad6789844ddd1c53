"""Reads what depends on a role, and what keeps a database from being dropped."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pg_operator.plan.state import Dependencies
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_bounded, read_often, read_rows

# Shared objects other than databases (tablespaces, memberships) count as the connected
# database's, because DROP OWNED deals with them in any. Default privileges for what a
# role creates are listed as owned by it, but are nothing to hand over.
_DEPENDENCIES: Final = """
SELECT DISTINCT pg_catalog.pg_get_userbyid(s.refobjid)::text,
       coalesce(d.datname, pg_catalog.current_database())::text,
       s.deptype = 'o'
           AND s.classid <> 'pg_catalog.pg_default_acl'::pg_catalog.regclass,
       s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass,
       s.deptype = 'r'
FROM pg_catalog.pg_shdepend AS s
LEFT JOIN pg_catalog.pg_database AS d ON d.oid =
    CASE WHEN s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
         THEN s.objid ELSE s.dbid END
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND s.refobjid = ANY (ARRAY(
      SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ANY (%(roles)s)))
"""

# The operator's login is a member of what it made, which changes nothing for anybody.
_ROW_SECURITY: Final = """
SELECT count(*) FILTER (WHERE pg_catalog.cardinality(p.polroles) = 1),
       count(*) FILTER (WHERE NOT p.polpermissive AND EXISTS (
           SELECT FROM pg_catalog.pg_auth_members AS m
           WHERE m.roleid = s.refobjid
             AND m.member <> (SELECT oid FROM pg_catalog.pg_roles
                              WHERE rolname = current_user)))
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_policy AS p ON p.oid = s.objid
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
  AND s.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
  AND s.dbid = (SELECT oid FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database())
"""

_BLOCKERS: Final = """
SELECT (SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = %(name)s),
       (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = %(name)s),
       (SELECT count(subname) FROM pg_catalog.pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database
                         WHERE datname = %(name)s)),
       (SELECT count(*) FROM pg_catalog.pg_replication_slots
        WHERE database = %(name)s),
       (SELECT count(*) FROM pg_catalog.pg_stat_activity AS a
        JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
        JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
        WHERE a.datname = %(name)s AND NOT me.rolsuper
          AND (r.rolsuper
               OR NOT (pg_catalog.pg_has_role(r.oid, 'USAGE')
                       OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))))
"""

# The function quotes the names that need it.
_HOMES: Final = """
SELECT DISTINCT (pg_catalog.parse_ident(i.schema))[1]
FROM pg_catalog.pg_shdepend AS s
CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, 0) AS i
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
  AND s.deptype = 'o' AND i.schema IS NOT NULL
  AND s.dbid = (SELECT oid FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database())
"""


# An allow list of what runs no code with the rights of its owner. An index with an
# expression does, whenever its table is analyzed; so do rules, views and statistics.
_PLAIN: Final = """
SELECT NOT EXISTS (
    SELECT FROM pg_catalog.pg_shdepend AS s
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = s.objid
        AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(role)s)
      AND s.deptype = 'o'
      AND s.dbid = (SELECT oid FROM pg_catalog.pg_database
                    WHERE datname = pg_catalog.current_database())
      AND NOT coalesce(
          s.classid IN ('pg_catalog.pg_namespace'::pg_catalog.regclass,
                        'pg_catalog.pg_type'::pg_catalog.regclass)
          OR c.relkind = 'S'
          OR (c.relkind IN ('r', 'p') AND NOT c.relhasrules
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t
                              WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
                              WHERE i.indrelid = c.oid
                                AND (i.indexprs IS NOT NULL
                                     OR i.indpred IS NOT NULL))),
          false))
"""


async def observe_dependencies(
    connection: Connection, roles: Collection[str]
) -> dict[str, Dependencies]:
    """Read in which databases roles own or are granted anything, from any database."""
    found: dict[str, list[tuple[str, bool, bool, bool]]] = {role: [] for role in roles}
    for role, *row in await read_often(connection, _DEPENDENCIES, roles=[*roles]):
        database, is_owner, is_database, in_policy = row
        if role in found:  # and was not renamed meanwhile
            found[role].append((database, is_owner, is_database, in_policy))
    return {role: _dependencies(rows) for role, rows in found.items()}


def _dependencies(rows: Iterable[tuple[str, bool, bool, bool]]) -> Dependencies:
    owner_in, granted_in, owned, policies_in = set(), set(), set(), set()
    for database, is_owner, is_database, in_policy in rows:
        if is_owner and is_database:
            owned.add(database)
        elif is_owner:
            owner_in.add(database)
        else:
            granted_in.add(database)
        if in_policy:
            policies_in.add(database)
    return Dependencies(
        frozenset(owner_in),
        frozenset(granted_in),
        frozenset(owned),
        frozenset(policies_in),
    )


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """What goes with a role of the row security policies of one database.

    `dropped` is the number of policies that name it alone. `loosened` is how many
    restrictive ones hold for other roles because these are members of it.
    """

    dropped: int
    loosened: int


async def observe_row_security(connection: Connection, role: str) -> RowSecurity:
    """Read what dropping a role does to the policies of the connected database."""
    ((dropped, loosened),) = await read_rows(connection, _ROW_SECURITY, role=role)
    return RowSecurity(dropped, loosened)


async def observe_drop_blockers(connection: Connection, name: str) -> tuple[str, ...]:
    """Say what keeps a database from being dropped, or would be lost with it.

    PostgreSQL drops inactive replication slots silently; their readers lose their
    place, so they count too.
    """
    ((template, prepared, subscriptions, slots, sessions),) = await read_rows(
        connection, _BLOCKERS, name=name
    )
    found = (
        (template, "it is marked as a template (IS_TEMPLATE)"),
        (prepared, f"prepared transactions: {prepared}; commit or roll them back"),
        (subscriptions, f"subscriptions: {subscriptions}; drop them"),
        (slots, f"logical replication slots: {slots}; drop them"),
        (
            sessions,
            f"sessions that the operator's login may not end: {sessions}; end them",
        ),
    )
    return tuple(sentence for is_there, sentence in found if is_there)


async def observe_homes(connection: Connection, role: str) -> frozenset[str]:
    """Read in which schemas of the connected database a role owns anything."""
    rows = await read_bounded(connection, _HOMES, what="schemas", role=role)
    return frozenset(schema for (schema,) in rows)


async def observe_is_plain(connection: Connection, role: str) -> bool:
    """Tell whether a role owns only what runs no code with the rights of its owner.

    Looks at the connected database: schemas, types, sequences, and tables without
    triggers, rules, and indexes on expressions are plain.
    """
    ((is_plain,),) = await read_rows(connection, _PLAIN, role=role)
    return bool(is_plain)
