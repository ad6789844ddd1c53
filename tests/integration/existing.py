"""A server as people leave it: made by hand, with everything that objects can say.

And with much that they cannot, which must be said beside them and left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import conninfo, sql

from pg_operator.postgres.encodings import show_any_bytes
from tests.integration.postgres_bed import Bed, run_as_superuser

_STATE: Final[Mapping[str, str]] = {
    "roles": """
        SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
               rolreplication, rolconnlimit, rolvaliduntil, rolbypassrls
        FROM pg_roles""",
    "memberships": """
        SELECT roleid::regrole::text, member::regrole::text, to_jsonb(m) - 'oid'
        FROM pg_auth_members AS m""",
    "settings": "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting",
    "databases": """
        SELECT datname, datdba, datacl::text, datconnlimit, datallowconn
        FROM pg_database""",
    "schemas": "SELECT nspname, nspowner, nspacl::text FROM pg_namespace",
    "relations": "SELECT oid, relowner, relacl::text FROM pg_class",
    "columns": """
        SELECT attrelid, attnum, attacl::text FROM pg_attribute
        WHERE attacl IS NOT NULL""",
    "functions": "SELECT oid, proowner, proacl::text FROM pg_proc",
    "types": "SELECT oid, typowner, typacl::text FROM pg_type",
    "defaults": """
        SELECT defaclrole, defaclnamespace, defaclobjtype, defaclacl::text
        FROM pg_default_acl""",
    "extensions": "SELECT extname, extversion, extnamespace FROM pg_extension",
}

State = dict[str, list[str]]


async def state_of_server(dsn: str, *databases: str) -> dict[str, State]:
    """Return all that a take-over must leave as it is, by database."""
    found = {}
    for database in databases:
        target = conninfo.make_conninfo(dsn, dbname=database)
        async with await psycopg.AsyncConnection.connect(target) as connection:
            # Other tests set what is no UTF-8, in databases of other encodings.
            show_any_bytes(connection)
            found[database] = {
                what: sorted(
                    [
                        repr(row)
                        for row in await (
                            await connection.execute(sql.SQL(query))
                        ).fetchall()
                    ]
                )
                for what, query in _STATE.items()
            }
    return found


@dataclass(frozen=True)
class Existing:
    """What was made by hand, by what it is for."""

    prefix: str
    parts: tuple[str, ...] = ("owner", "writer", "reader", "staff", "audit")

    def __getitem__(self, part: str) -> str:
        return f"{self.prefix}_{part}"

    def object_name(self, part: str) -> str:
        """Return what the object is called that an export makes of a part."""
        return self[part].replace("_", "-")

    @property
    def databases(self) -> frozenset[str]:
        """The databases by their names in PostgreSQL."""
        return frozenset({self["shop"], self["stats"]})

    @property
    def roles(self) -> frozenset[str]:
        """The roles by their names in PostgreSQL."""
        return frozenset(self[part] for part in self.parts)


async def make_by_hand(bed: Bed, superuser_dsn: str) -> Existing:
    """Make two databases and five roles, with a word of everything on them."""
    existing = Existing(bed.prefix)
    shop, stats, owner = existing["shop"], existing["stats"], existing["owner"]
    writer, reader = existing["writer"], existing["reader"]
    staff, audit = existing["staff"], existing["audit"]
    await bed.execute(
        f"CREATE ROLE {staff} NOLOGIN",
        f"CREATE ROLE {owner} LOGIN CONNECTION LIMIT 7",
        f"CREATE ROLE {writer} LOGIN VALID UNTIL '2031-05-01 12:00:00+02'",
        f"CREATE ROLE {reader} LOGIN NOINHERIT",
        f"CREATE ROLE {audit} NOLOGIN CREATEDB",
        f"GRANT {staff} TO {reader}, {writer} WITH ADMIN OPTION",
        f'ALTER ROLE {reader} SET search_path TO app, "Odd Name"',
        f"ALTER ROLE {reader} SET statement_timeout TO '1h'",
        f"GRANT {owner} TO {bed.server.login}",
    )
    await bed.execute(
        f"CREATE DATABASE {shop} CONNECTION LIMIT 50",
        f"CREATE DATABASE {stats} ENCODING 'UTF8' TEMPLATE template0",
        f"ALTER DATABASE {shop} SET work_mem TO '64MB'",
        f"ALTER ROLE {reader} IN DATABASE {shop} SET lock_timeout TO '2s'",
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {stats} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {stats} TO {reader}",
        f"GRANT CONNECT, CREATE ON DATABASE {shop} TO {writer} WITH GRANT OPTION",
        f"ALTER DATABASE {shop} OWNER TO {owner}",
    )
    await bed.execute(
        f"CREATE SCHEMA app AUTHORIZATION {owner}",
        "CREATE SCHEMA log",
        'CREATE SCHEMA "Legacy"',
        'CREATE TABLE "Legacy".secret (id int)',
        f'GRANT SELECT ON "Legacy".secret TO {reader}',
        f'GRANT USAGE ON SCHEMA "Legacy" TO {reader}',
        'CREATE TABLE log.events (id serial, "y" int, note text)',
        "CREATE TABLE log.empty (id int)",
        "CREATE TYPE log.mood AS ENUM ('sad', 'happy')",
        "CREATE FUNCTION log.f(log.mood, \"char\", int[] DEFAULT '{}') RETURNS int"
        " LANGUAGE sql AS 'SELECT 1'",
        "CREATE PROCEDURE log.p() LANGUAGE sql AS 'SELECT 1'",
        f"GRANT USAGE, CREATE ON SCHEMA log TO {writer}",
        f"GRANT SELECT ON log.events TO {reader}, {writer}",
        "GRANT SELECT ON log.empty TO PUBLIC",
        f"GRANT SELECT ON log.empty TO {reader}",
        f"GRANT INSERT (id, y), UPDATE (y) ON log.events TO {reader}",
        f"GRANT USAGE, SELECT ON SEQUENCE log.events_id_seq TO {writer}",
        f"GRANT EXECUTE ON FUNCTION log.f TO {reader} WITH GRANT OPTION",
        f"GRANT EXECUTE ON PROCEDURE log.p TO {reader}",
        f"GRANT USAGE ON TYPE log.mood TO {writer}",
        database=shop,
    )
    await bed.execute(
        f"SET ROLE {owner}",
        'CREATE TABLE app."User" (id int, "Full Name" text)',
        "CREATE TABLE app.orders (id int)",
        "CREATE TABLE app.secrets (id int)",
        "CREATE VIEW app.v AS SELECT 1 AS one",
        f"GRANT USAGE ON SCHEMA app TO {reader}, {writer}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA app TO {reader}, {writer}",
        f"REVOKE SELECT ON app.secrets FROM {reader}",
        f"GRANT INSERT ON app.secrets TO {reader}",
        f'GRANT UPDATE ON app."User" TO {reader} WITH GRANT OPTION',
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES"
        f" TO {reader}, {writer}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO {writer}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT INSERT ON TABLES TO {writer}",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reader}",
        "RESET ROLE",
        "CREATE EXTENSION hstore SCHEMA app",
        f"GRANT EXECUTE ON FUNCTION app.hstore(text, text) TO {reader}",
        database=shop,
    )
    await run_as_superuser(
        superuser_dsn, f"GRANT SELECT ON pg_catalog.pg_database TO {reader}"
    )
    # What a login without superuser's rights cannot make.
    await run_as_superuser(
        superuser_dsn,
        f"GRANT USAGE ON LANGUAGE plpgsql TO {reader}",
        f"ALTER DATABASE {shop} SET app.mode TO 'yes'",
        f"GRANT pg_monitor TO {audit}",
        f"SET ROLE {writer}",
        f"GRANT CONNECT ON DATABASE {shop} TO {reader}",
        database=shop,
    )
    return existing
