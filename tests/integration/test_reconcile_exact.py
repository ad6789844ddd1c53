"""A role with `grantsPolicy: Exact` ends with its permissions and nothing else."""

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pg_operator.reconcilers.outcome import Key, Outcome
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage

EVERY_KIND = (
    "GRANT ALL ON SCHEMA app TO {role}",
    "GRANT ALL ON app.orders, app.lines, app.ids TO {role}",
    "GRANT SELECT (id), UPDATE (id) ON app.orders TO {role} WITH GRANT OPTION",
    "GRANT EXECUTE ON FUNCTION app.add(int, int) TO {role}",
    "GRANT USAGE ON TYPE app.money TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON SEQUENCES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT EXECUTE ON FUNCTIONS TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON TYPES TO {role}",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {role}",
    "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {role}",
    "ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO {role}",
    "ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO {role}",
)
OBJECTS = (
    "CREATE SCHEMA app",
    "CREATE TABLE app.orders (id int)",
    "CREATE TABLE app.lines (id int)",
    "CREATE SEQUENCE app.ids",
    "CREATE FUNCTION app.add(int, int) RETURNS int RETURN $1 + $2",
    "CREATE TYPE app.money AS (amount int)",
)
# What PostgreSQL itself has on record, object by object, whatever the kind.
HELD = """
SELECT coalesce(d.datname, x.datname), s.classid::regclass::text, s.objsubid > 0
FROM pg_shdepend AS s
LEFT JOIN pg_database AS d ON d.oid = s.dbid
LEFT JOIN pg_database AS x
    ON x.oid = s.objid AND s.classid = 'pg_database'::regclass
WHERE s.refobjid = %(role)s::regrole AND s.deptype = 'a'
"""


class Tenant:
    """A role, what it declares, and what the server says that it holds."""

    def __init__(self, stage: Stage, bed: Bed) -> None:
        self.stage = stage
        self.bed = bed
        self.role = bed.name("role")
        self.permissions: list[dict[str, Any]] = []

    async def make_database(self, suffix: str, **spec: Any) -> str:
        """Make a database with its Database, and something of every kind in it."""
        name = self.bed.name(suffix)
        document = {**MAIN, "name": name, **spec}
        database = self.stage.put("Database", suffix, document, namespace="shop")
        assert (await self.stage.reconcile(database))[0] == "Reconciled"
        await self.bed.execute(*OBJECTS, database=name)
        return name

    async def grant_all(self, name: str) -> None:
        """Grant by hand everything that there is in a database."""
        statements = (text.format(role=self.role) for text in EVERY_KIND)
        await self.bed.execute(
            f"GRANT ALL ON DATABASE {name} TO {self.role} WITH GRANT OPTION",
            *statements,
            database=name,
        )

    async def reconcile(self, policy: str) -> tuple[str, str, Outcome]:
        """Reconcile the role: reason and message of its Ready condition."""
        spec = {**MAIN, "roleName": self.role, "permissions": self.permissions}
        document = {**spec, "grantsPolicy": policy}
        key = self.stage.put("DatabaseRole", "role", document, namespace="shop")
        return await self.stage.reconcile(key)

    async def held(self) -> list[tuple[str, str, bool]]:
        """Return database and catalog of all that the role holds: twice if twice."""
        async with self.bed.connections.session() as connection:
            cursor = await connection.execute(sql.SQL(HELD), {"role": self.role})
            return sorted(await cursor.fetchall())


@pytest.fixture
def tenant(stage: Stage, bed: Bed) -> Tenant:
    return Tenant(stage, bed)


async def test_exact_role_loses_all_else_of_every_kind_in_every_database(
    tenant: Tenant,
) -> None:
    here = await tenant.make_database("here", schemas=[{"name": "listed"}])
    elsewhere = await tenant.make_database("elsewhere")
    orders = {"name": "orders", "columns": [{"name": "id", "privileges": ["SELECT"]}]}
    app = {"name": "app", "privileges": ["USAGE"], "tables": [orders]}
    database = Key("Database", "shop", "here")
    listed = {**MAIN, "name": here, "schemas": [{"name": "app"}]}
    tenant.stage.put("Database", "here", listed, namespace="shop")
    assert (await tenant.stage.reconcile(database))[0] == "Reconciled"
    tenant.permissions = [
        {"database": here, "privileges": ["CONNECT"], "schemas": [app]}
    ]
    assert (await tenant.reconcile("Additive"))[0] == "Reconciled"
    declared = await tenant.held()
    assert declared == [
        (here, "pg_class", True),
        (here, "pg_database", False),
        (here, "pg_namespace", False),
    ]

    for name in (here, elsewhere):
        await tenant.grant_all(name)
    by_hand = await tenant.held()
    # 9 kinds of default privileges and 7 objects in each, and the databases.
    assert len(by_hand) == 2 * (9 + 7 + 1)
    assert (await tenant.reconcile("Additive"))[0] == "Reconciled"
    assert await tenant.held() == by_hand

    reason, message, _ = await tenant.reconcile("Exact")
    assert reason == "Reconciled", message
    assert await tenant.held() == declared
    seen = await tenant.bed.grants(tenant.role, database=here)
    assert {(str(grant.on), str(grant)) for grant in seen} == {
        (f"{here}.app", "USAGE"),
        (f"{here}.app.orders.id", "SELECT"),
    }


async def test_exact_role_loses_all_else_where_its_entry_has_to_wait(
    tenant: Tenant,
) -> None:
    name = await tenant.make_database("db")
    schemas = {"schemas": [{"name": "app"}]}
    database = tenant.stage.put(
        "Database", "db", {**MAIN, "name": name, **schemas}, namespace="shop"
    )
    assert (await tenant.stage.reconcile(database))[0] == "Reconciled"
    app = {"name": "app", "privileges": ["USAGE"]}
    tenant.permissions = [
        {"database": name, "privileges": ["CONNECT"], "schemas": [app]}
    ]
    assert (await tenant.reconcile("Exact"))[0] == "Reconciled"
    declared = await tenant.held()

    tenant.stage.remove(database)
    await tenant.grant_all(name)
    reason, message, _ = await tenant.reconcile("Exact")
    assert (reason, name in message) == ("PartiallyApplied", True)
    # What was granted for the entry is kept until its Database is there again.
    assert await tenant.held() == declared


async def test_exact_role_says_in_which_database_it_may_still_hold_something(
    tenant: Tenant, superuser_dsn: str
) -> None:
    shut = await tenant.make_database("shut")
    assert (await tenant.reconcile("Additive"))[0] == "Reconciled"
    await tenant.grant_all(shut)
    close, reopen = (
        f"ALTER DATABASE {shut} ALLOW_CONNECTIONS {word}" for word in ("false", "true")
    )
    await tenant.bed.connections.discard(shut)
    await run_as_superuser(superuser_dsn, close)
    reason, message, outcome = await tenant.reconcile("Exact")
    assert (reason, shut in message) == ("PartiallyApplied", True)
    (pending,) = outcome.status["grants"]["pending"]
    assert pending["path"] == f"spec.permissions[{shut}]"
    assert pending["reason"] == "DatabaseNotReady"
    # What is on the database itself needs nobody to enter it.
    held = await tenant.held()
    assert (shut, "pg_database", False) not in held
    assert len(held) == 9 + 7

    await run_as_superuser(superuser_dsn, reopen)
    assert (await tenant.reconcile("Exact"))[0] == "Reconciled"
    assert await tenant.held() == []


async def test_exact_role_says_what_another_granted_and_only_that_one_can_revoke(
    tenant: Tenant, superuser_dsn: str
) -> None:
    name = await tenant.make_database("db")
    assert (await tenant.reconcile("Additive"))[0] == "Reconciled"
    await run_as_superuser(
        superuser_dsn,
        "CREATE TABLE app.foreign_one (id int)",
        f"GRANT SELECT ON app.foreign_one TO {tenant.role}",
        database=name,
    )
    reason, message, _ = await tenant.reconcile("Exact")
    assert (reason, "foreign_one" in message) == ("PartiallyApplied", True)
    assert await tenant.held() == [(name, "pg_class", False)]


async def test_exact_role_changes_elsewhere_while_one_database_is_held_up(
    tenant: Tenant, superuser_dsn: str
) -> None:
    """Everybody may grant a role something, and lock it then; so may the owner."""
    theirs = await tenant.make_database("a_theirs")
    ours = await tenant.make_database("ours")
    listed = {**MAIN, "name": ours, "schemas": [{"name": "app"}]}
    database = tenant.stage.put("Database", "ours", listed, namespace="shop")
    assert (await tenant.stage.reconcile(database))[0] == "Reconciled"
    table = {"name": "orders", "privileges": ["SELECT"]}
    app = {"name": "app", "privileges": ["USAGE"], "tables": [table]}
    tenant.permissions = [
        {"database": ours, "privileges": ["CONNECT"], "schemas": [app]}
    ]
    assert (await tenant.reconcile("Exact"))[0] == "Reconciled"
    app["tables"] = [{**table, "privileges": ["INSERT"]}]
    grant = f"GRANT SELECT ON app.orders TO {tenant.role}"
    await run_as_superuser(superuser_dsn, grant, database=theirs)
    target = make_conninfo(superuser_dsn, dbname=theirs)
    async with await psycopg.AsyncConnection.connect(target) as hostile:
        await hostile.execute("LOCK TABLE app.orders IN ACCESS EXCLUSIVE MODE")
        reason, message, _ = await tenant.reconcile("Exact")
        seen = await tenant.bed.grants(tenant.role, database=ours)
        assert {str(g) for g in seen if g.on.name == "orders"} == {"INSERT"}
        assert (reason, f"(database '{theirs}')" in message) == ("ServerBusy", True)
        await hostile.rollback()
    assert (await tenant.reconcile("Exact"))[0] == "Reconciled"
    assert {database for database, *_ in await tenant.held()} == {ours}


async def test_exact_role_keeps_what_it_has_as_an_owner(
    tenant: Tenant, superuser_dsn: str
) -> None:
    name = await tenant.make_database("db")
    assert (await tenant.reconcile("Additive"))[0] == "Reconciled"
    own = (
        f"GRANT ALL ON SCHEMA app TO {tenant.role}",
        f"ALTER TABLE app.orders OWNER TO {tenant.role}",
        f"SET ROLE {tenant.role}",
        # As a hardened application does; now its own name is in its own defaults.
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "CREATE FUNCTION app.own() RETURNS int RETURN 1",
    )
    await run_as_superuser(superuser_dsn, *own, database=name)
    assert (await tenant.reconcile("Exact"))[0] == "Reconciled"
    can = (
        f"SELECT has_table_privilege('{tenant.role}', 'app.orders', 'DELETE'),"
        f" has_function_privilege('{tenant.role}', 'app.own()', 'EXECUTE'),"
        f" has_schema_privilege('{tenant.role}', 'app', 'USAGE'),"
        " (SELECT defaclacl::text FROM pg_default_acl"
        f"  WHERE defaclrole = '{tenant.role}'::regrole)"
    )
    async with tenant.bed.connections.session(name) as connection:
        cursor = await connection.execute(can.encode())
        ((table, function, schema, defaults),) = await cursor.fetchall()
    assert (table, function, schema) == (True, True, False)
    assert defaults == f"{{{tenant.role}=X/{tenant.role}}}"
