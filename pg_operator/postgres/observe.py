"""Reads a server: catalogs in, states out, nothing written.

Every name is qualified with pg_catalog: a database owner may shadow anything else.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pg_operator.api.secret import SecretText
from pg_operator.plan.parameters import normalize
from pg_operator.plan.state import (
    UNSET,
    Catalog,
    DatabaseState,
    Locale,
    Mark,
    Membership,
    Password,
    RoleParameter,
    RoleState,
    Securable,
    Server,
)
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe_objects import observe_objects, resolve_functions
from pg_operator.postgres.observe_privileges import (
    observe_database_grants,
)
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

# Columns for the locale came with 15 (ICU) and 17 (builtin), so they are asked for by
# name in JSON.
_DATABASE: Final = """
SELECT d.oid::bigint, r.rolname::text,
       pg_catalog.pg_encoding_to_char(d.encoding)::text,
       d.datallowconn, d.datconnlimit,
       ARRAY(SELECT a.privilege_type
             FROM pg_catalog.aclexplode(
                 coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a
             WHERE a.grantee = 0),
       ARRAY(SELECT pair FROM pg_catalog.pg_db_role_setting AS s
             CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS pair
             WHERE s.setdatabase = d.oid AND s.setrole = 0
               AND pg_catalog.octet_length(pair) <= %(longest_setting)s),
       (SELECT c FROM pg_catalog.shobj_description(d.oid, 'pg_database') AS c
        WHERE pg_catalog.octet_length(c) <= %(longest_comment)s),
       coalesce(j.row ->> 'datlocprovider', 'c'),
       coalesce(j.row ->> 'datlocale', j.row ->> 'daticulocale', d.datcollate::text),
       t.spcname::text
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(d) AS row) AS j
LEFT JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba
WHERE d.datname = %(name)s
"""

# Lists are arrays of text, which any bytes can be read from; JSON is not. The options
# of memberships came with 16. What a superuser grants is recorded as granted by the
# bootstrap superuser, whose OID is 10.
_ROLE: Final = """
SELECT r.oid::bigint, r.rolcanlogin, r.rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles AS s
               WHERE (s.rolsuper OR s.rolname = current_user)
                 AND pg_catalog.pg_has_role(r.oid, s.oid, 'MEMBER')),
       r.rolconnlimit,
       pg_catalog.pg_has_role(current_user, r.oid, 'USAGE')
           AND pg_catalog.pg_has_role(current_user, r.oid, %(set)s),
       ARRAY(SELECT ARRAY[
            g.rolname::text, by.rolname::text,
            (by.rolname = current_user OR (by.oid = 10 AND me.rolsuper))::text,
            m.admin_option::text,
            pg_catalog.to_json(m) ->> 'inherit_option',
            pg_catalog.to_json(m) ->> 'set_option']
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
        LEFT JOIN pg_catalog.pg_roles AS by ON by.oid = m.grantor
        WHERE m.member = r.oid),
       r.rolinherit,
       CASE WHEN r.rolvaliduntil IS NULL OR r.rolvaliduntil = 'infinity'
            THEN 'infinity'
            ELSE pg_catalog.to_char(pg_catalog.timezone('UTC', r.rolvaliduntil),
                                    'YYYY-MM-DD"T"HH24:MI:SS"Z"') END,
       pg_catalog.array_remove(ARRAY[
           CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' END,
           CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
       ARRAY(SELECT ARRAY[coalesce(d.datname::text, ''), pair]
        FROM pg_catalog.pg_db_role_setting AS s
        CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS pair
        LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
        WHERE s.setrole = r.oid
          AND pg_catalog.octet_length(pair) <= %(longest_setting)s),
       (SELECT c FROM pg_catalog.shobj_description(r.oid, 'pg_authid') AS c
        WHERE pg_catalog.octet_length(c) <= %(longest_comment)s)
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = %(name)s
"""

_PARAMETER_CONTEXTS: Final = """
SELECT pg_catalog.lower(name), context FROM pg_catalog.pg_settings
WHERE pg_catalog.lower(name) = ANY (%(names)s)
"""

_SCHEMAS: Final = """
SELECT nspname::text, pg_catalog.pg_get_userbyid(nspowner)::text
FROM pg_catalog.pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""

_PUBLIC_SCHEMA_OPEN: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
               CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) AS a
               WHERE n.nspname = 'public' AND a.grantee = 0
                 AND a.privilege_type = 'CREATE')
"""

_PROVIDERS: Final[Mapping[str, str]] = {"c": "libc", "i": "icu", "b": "builtin"}


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


async def observe_database(
    connection: Connection, name: str, *, keyring: Keyring
) -> DatabaseState:
    """Read a database's row and mark, from any database; schemas stay empty.

    The names of settings are in lower case, as PostgreSQL compares them. A connection
    limit of -2 says that a DROP DATABASE was interrupted.
    """
    rows = await read_rows(connection, _DATABASE, name=name, **BOUNDS)
    if not rows:
        return DatabaseState(name, exists=False, mark=None)
    oid, owner, encoding, allows, limit, public, settings, comment, *made = rows[0]
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
        settings=_settings(settings),
        mark=mark,
        comment=comment if mark is None else None,
    )


async def observe_role(
    connection: Connection, name: str, *, keyring: Keyring
) -> RoleState:
    """Read a role's row, mark and database privileges, from any database.

    The password is the one that the mark records: PostgreSQL shows nobody but
    superusers what is stored.
    """
    # 16 split membership into using a role's privileges and becoming the role.
    becoming = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    rows = await read_rows(connection, _ROLE, name=name, set=becoming, **BOUNDS)
    if not rows:
        return RoleState(name, exists=False, mark=None)
    (
        oid,
        login,
        superuser,
        powerful,
        limit,
        self_member,
        memberships,
        inherit,
        valid_until,
        attributes,
        settings,
        comment,
    ) = rows[0]
    mark = keyring.open_comment(comment, on=f"role:{name}")
    password: Any = UNSET
    if isinstance(mark, Mark):
        password = Password(mark.password) if mark.password else None
    return RoleState(
        name,
        oid=oid,
        login=login,
        superuser=superuser,
        powerful=powerful,
        connection_limit=limit,
        password=password,
        self_member=self_member,
        inherit=inherit,
        valid_until=valid_until,
        attributes=frozenset(attributes),
        parameters={
            RoleParameter(name, database): value
            for database, pair in settings
            for name, value in _settings((pair,)).items()
        },
        memberships=frozenset(map(_membership, memberships)),
        grants=await observe_database_grants(connection, name),
        mark=mark,
        comment=comment if mark is None else None,
    )


def _membership(row: Sequence[str | None]) -> Membership:
    """Read a row of pg_auth_members; before 16 one pair has one, whoever granted it."""
    role, grantor, own, admin, inherit, set_ = row
    return Membership(
        role=role or "",
        admin=admin == "true",
        inherit=UNSET if inherit is None else inherit == "true",
        set=UNSET if set_ is None else set_ == "true",
        grantor=grantor or "",
        own=own == "true" or inherit is None,
    )


async def observe_parameter_contexts(
    connection: Connection, names: Collection[str]
) -> dict[str, str]:
    """Read who may change settings: pg_settings.context, by names in lower case."""
    found = await read_rows(connection, _PARAMETER_CONTEXTS, names=sorted(names))
    return dict(found)


async def observe_catalog(
    connection: Connection, *, wanted: Collection[Securable] = ()
) -> Catalog:
    """Read the connected database's schemas, and which of the wanted objects exist.

    `*` is every object of its kind in a schema. System schemas and what belongs to
    extensions is left out: nothing of ours is granted there.
    """
    owners: dict[str, str] = dict(
        await read_bounded(connection, _SCHEMAS, what="schemas")
    )
    present = frozenset(owners)
    ((public_schema_open,),) = await read_rows(connection, _PUBLIC_SCHEMA_OPEN)
    inside = [on for on in wanted if on.schema in present]
    functions = await resolve_functions(connection, inside)
    return Catalog(
        database=connection.info.dbname,
        schemas=present,
        objects=await observe_objects(connection, inside) | {*functions.values()},
        functions=functions,
        public_schema_open=public_schema_open,
        schema_owners=owners,
    )


async def observe_verifier(
    connection: Connection, role: str, *, keyring: Keyring
) -> str | None:
    """Return the fingerprint of what is stored of a role's password; None for none.

    Only a login with `Server.read_passwords` may look.
    """
    for (stored,) in await read_rows(
        connection,
        "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %(role)s",
        role=role,
    ):
        if stored is not None:
            return keyring.fingerprint(SecretText(stored), role=role)
    return None


def _settings(pairs: Collection[str]) -> dict[str, str]:
    """Split pg_db_role_setting's name=value pairs."""
    split = (pair.partition("=") for pair in pairs)
    return {name.lower(): normalize(name.lower(), value) for name, _, value in split}
