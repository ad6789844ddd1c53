"""Reads roles: rows of pg_roles, their memberships and marks in, states out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pg_operator.api.secret import SecretText
from pg_operator.plan.state import (
    UNSET,
    Mark,
    Membership,
    Password,
    RoleParameter,
    RoleState,
)
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe_parameters import split_settings
from pg_operator.postgres.rows import read_often, read_rows

# Lists are arrays of text, which any bytes can be read from; JSON is not. The options
# of memberships came with 16. What a superuser grants is recorded as granted by the
# bootstrap superuser, whose OID is 10.
_ROLES: Final = """
SELECT r.rolname::text, r.oid::bigint, r.rolcanlogin, r.rolsuper,
       r.rolsuper OR r.rolname = current_user
           OR EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE member = r.oid)
               AND EXISTS (SELECT FROM pg_catalog.pg_roles AS s
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
       ARRAY(SELECT ARRAY[place, pair] FROM (
            SELECT coalesce(d.datname::text, '') AS place, pair,
                   pg_catalog.sum(pg_catalog.octet_length(pair))
                       OVER (ORDER BY s.setdatabase, number) AS total
            FROM pg_catalog.pg_db_role_setting AS s
            CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
                WITH ORDINALITY AS each (pair, number)
            LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
            WHERE s.setrole = r.oid
              AND pg_catalog.octet_length(pair) <= %(longest_setting)s) AS settings
        WHERE total <= %(longest_settings)s),
       (SELECT c FROM pg_catalog.shobj_description(r.oid, 'pg_authid') AS c
        WHERE pg_catalog.octet_length(c) <= %(longest_comment)s)
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY ((SELECT %(names)s::text[])::text[])
"""

_VERIFIERS: Final = """
SELECT rolname::text, rolpassword FROM pg_catalog.pg_authid
WHERE rolname = ANY (%(roles)s) AND rolpassword IS NOT NULL
"""


async def observe_roles(
    connection: Connection,
    names: Collection[str],
    *,
    keyring: Keyring,
    bounds: Mapping[str, int] = BOUNDS,
) -> dict[str, RoleState]:
    """Read the rows and marks of roles, from any database; grants stay empty.

    What is longer than `bounds` allow counts as not there.

    The password is the one that the mark records: PostgreSQL shows nobody but
    superusers what is stored.
    """
    states = {name: RoleState(name, exists=False, mark=None) for name in names}
    if states:
        # 16 split membership into using a role's privileges and becoming the role.
        becoming = "SET" if connection.info.server_version >= 160000 else "MEMBER"
        rows = await read_often(
            connection, _ROLES, names=[*states], set=becoming, **bounds
        )
        states |= {name: _state(name, row, keyring) for name, *row in rows}
    return states


def _state(name: str, row: Collection[Any], keyring: Keyring) -> RoleState:
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
    ) = row
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
            for name, value in split_settings((pair,)).items()
        },
        memberships=frozenset(map(_membership, memberships)),
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


async def observe_verifiers(
    connection: Connection, roles: Collection[str], *, keyring: Keyring
) -> dict[str, str | None]:
    """Return fingerprints of what is stored of roles' passwords; None for none.

    Only a login with `Server.read_passwords` may look.
    """
    found: dict[str, str | None] = dict.fromkeys(roles)
    for role, stored in await read_rows(connection, _VERIFIERS, roles=[*roles]):
        found[role] = keyring.fingerprint(SecretText(stored), role=role)
    return found
