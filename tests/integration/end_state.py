"""What is on a server and in an API server at the end, in words that two runs share."""

import base64
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import conninfo, sql

from pg_operator.plan.state import Mark
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.keys import KEYS_SECRET
from tests.integration.memory_api import Json, MemoryAPI

_OURS: Final = "(starts_with({0}, %(prefix)s) OR {0} = %(heir)s)"
_ACL: Final = "(SELECT array_agg(one::text ORDER BY one::text) FROM unnest({}) AS one)"
# In every database alike.
_SHARED: Final = (
    f"""
SELECT 'role', rolname, to_jsonb(r) - '{{oid,rolname,rolpassword}}'::text[],
 rolpassword IS NOT NULL, shobj_description(oid, 'pg_authid')
FROM pg_authid AS r WHERE {_OURS.format("rolname")}
""",
    f"""
SELECT 'member', roleid::regrole::text, member::regrole::text,
 to_jsonb(m) - '{{oid,roleid,member,grantor}}'::text[]
FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = roleid
WHERE {_OURS.format("r.rolname")}
""",
    f"""
SELECT 'setting', datname, rolname, setconfig
FROM pg_db_role_setting LEFT JOIN pg_database AS d ON d.oid = setdatabase
LEFT JOIN pg_roles AS r ON r.oid = setrole
WHERE {_OURS.format("datname")} OR {_OURS.format("rolname")}
""",
    f"""
SELECT 'database', datname, datdba::regrole::text, encoding, datcollate,
 datallowconn, datconnlimit, {_ACL.format("datacl")},
 shobj_description(oid, 'pg_database')
FROM pg_database WHERE {_OURS.format("datname")}
""",
)
_INSIDE: Final = (
    f"""
SELECT 'schema', nspname, nspowner::regrole::text, {_ACL.format("nspacl")}
FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'
""",
    f"""
SELECT 'relation', relname, relowner::regrole::text, {_ACL.format("relacl")}
FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
""",
    f"""
SELECT 'default', defaclrole::regrole::text, defaclnamespace::regnamespace::text,
 defaclobjtype, {_ACL.format("defaclacl")} FROM pg_default_acl
""",
    "SELECT 'extension', extname, extnamespace::regnamespace::text FROM pg_extension",
)
_MARKED: Final = ("role", "database")
# What differs between any two runs: random, or counted up by the server.
_RANDOM: Final = ("password", "verifier")
_COUNTED: Final = (
    "uid",
    "resourceVersion",
    "oid",
    "passwordFingerprint",
    "lastTransitionTime",
)

Row = Sequence[Any]


async def observe_server_state(
    dsn: str, *, prefix: str, heir: str, keyring: Keyring
) -> set[str]:
    """Return every row about what begins with the prefix, and about the heir."""
    names = {"prefix": prefix, "heir": heir}
    rows = [row async for row in _rows(dsn, "postgres", _SHARED, names)]
    state = {_said(row, keyring) for row in rows}
    for database in (row[1] for row in rows if row[0] == "database" and row[5]):
        async for row in _rows(dsn, database, _INSIDE, names):
            state.add(f"{database}: {row}")
    return {text.replace(prefix, "P").replace(heir, "HEIR") for text in state}


def observe_api_state(api: MemoryAPI, *, prefix: str) -> set[str]:
    """Return what is stored, but for Events and the operator's keys."""
    state = {
        f"{'/'.join(place)}: {_bare(obj)}"
        for place, obj in api.objects.items()
        if place.plural != "events" and place.name != KEYS_SECRET
    }
    return {text.replace(prefix, "P") for text in state}


def values_of(secret: Json) -> dict[str, bytes]:
    """Return what is in a Secret."""
    return {key: base64.b64decode(text) for key, text in secret["data"].items()}


async def _rows(
    dsn: str, database: str, queries: Sequence[LiteralString], names: Mapping[str, str]
) -> AsyncIterator[Row]:
    target = conninfo.make_conninfo(dsn, dbname=database)
    async with await psycopg.AsyncConnection.connect(target) as connection:
        for query in queries:
            cursor = await connection.execute(sql.SQL(query), names)
            for row in await cursor.fetchall():
                yield row


def _said(row: Row, keyring: Keyring) -> str:
    """Return a row with the mark in its comment opened, and without what is random."""
    if row[0] not in _MARKED:
        return str(row)
    *others, comment = row
    mark = keyring.open_comment(comment, on=f"{row[0]}:{row[1]}")
    if not isinstance(mark, Mark):
        return str((others, comment, mark))
    fields = {
        field.name: _in_order(getattr(mark, field.name))
        for field in dataclasses.fields(mark)
        if field.name != "claimant"
    }
    random = {name: fields[name] is not None for name in _RANDOM}
    return str((others, mark.claimant.name, fields | random))


def _in_order(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _bare(value: Any) -> Any:
    """Leave out what two runs do not share."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    bare = {key: _bare(value[key]) for key in sorted(value) if key not in _COUNTED}
    if "data" in bare:
        bare["data"] = sorted(bare["data"])
    return bare
