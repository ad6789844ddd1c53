"""Reads a server, and one database from inside: catalogs in, nothing written.

Every name is qualified with pg_catalog: a database owner may shadow anything else.
"""

from collections.abc import Collection
from typing import Final

from pg_operator.plan.grants import Securable
from pg_operator.plan.state import Catalog, Server
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.observe_objects import observe_objects, resolve_functions
from pg_operator.postgres.rows import read_bounded, read_rows

_SERVER: Final = """
SELECT pg_catalog.current_setting('server_version_num')::int,
       pg_catalog.current_setting('server_version'),
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
       pg_catalog.pg_postmaster_start_time()::text,
       pg_catalog.pg_is_in_recovery(),
       rolname::text, rolsuper, rolcreatedb, rolcreaterole,
       pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE'),
       rolinherit,
       coalesce(pg_catalog.current_setting('rds.restrict_password_commands', true), '')
               NOT IN ('on', 'true', '1')
           OR EXISTS (SELECT FROM pg_catalog.pg_roles
                      WHERE rolname = 'rds_password'
                        AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER')),
       pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
       rolconnlimit,
       ARRAY(SELECT DISTINCT coalesce(g.rolname::text, 'PUBLIC')
             FROM pg_catalog.pg_database AS d
             CROSS JOIN LATERAL pg_catalog.aclexplode(
                 coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a
             LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantee
             WHERE d.datname = pg_catalog.current_database()
               AND a.privilege_type = 'CONNECT' AND a.grantee <> d.datdba
               AND NOT coalesce(g.rolsuper OR g.rolname = current_user, false)
             ORDER BY 1)
FROM pg_catalog.pg_roles WHERE rolname = current_user
"""

_SCHEMAS: Final = """
SELECT n.nspname::text, pg_catalog.pg_get_userbyid(n.nspowner)::text,
       n.nspname = 'public' AND EXISTS (
           SELECT FROM pg_catalog.aclexplode(n.nspacl) AS a
           WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


async def observe_server(connection: Connection) -> Server:
    """Read what kind of server this is and what our login may do on it."""
    (row,) = await read_rows(connection, _SERVER)
    (
        version_number,
        version,
        system_identifier,
        started_at,
        in_recovery,
        login,
        superuser,
        create_database,
        create_role,
        signal_backend,
        inherits,
        set_passwords,
        read_passwords,
        connection_limit,
        visitors,
    ) = row
    return Server(
        version_number=version_number,
        version=version,
        system_identifier=system_identifier,
        started_at=started_at,
        in_recovery=in_recovery,
        login=login,
        superuser=superuser,
        create_database=superuser or create_database,
        create_role=superuser or create_role,
        signal_backend=signal_backend,
        inherits=inherits,
        set_passwords=set_passwords,
        read_passwords=read_passwords,
        connection_limit=connection_limit,
        visitors=tuple(visitors),
    )


async def observe_catalog(
    connection: Connection, *, wanted: Collection[Securable] = ()
) -> Catalog:
    """Read the connected database's schemas, and which of the wanted objects exist.

    `*` is every object of its kind in a schema. System schemas and what belongs to
    extensions is left out: nothing of ours is granted there.
    """
    rows = await read_bounded(connection, _SCHEMAS, what="schemas")
    owners: dict[str, str] = {name: owner for name, owner, _ in rows}
    present = frozenset(owners)
    inside = [on for on in wanted if on.schema in present]
    functions = await resolve_functions(connection, inside)
    return Catalog(
        database=connection.info.dbname,
        schemas=present,
        objects=await observe_objects(connection, inside) | {*functions.values()},
        functions=functions,
        public_schema_open=any(is_open for *_, is_open in rows),
        schema_owners=owners,
    )
