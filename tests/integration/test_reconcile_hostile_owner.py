"""An owner who turns its database against the operator, and everybody else meanwhile.

Whatever it does there, it gains nothing, and the objects of others are worked on.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pg_operator.postgres.connect import LOGIN_TRIGGERS
from pg_operator.reconcilers.outcome import Key, Outcome
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage, on_stage
from tests.integration.test_postgres_hostile import LOGIN_TRIGGER
from tests.localcluster.postgres import PostgresServer

PASSWORD = "correct horse hostile battery"

# One for each function and operator of PostgreSQL's that can be written in PL/pgSQL.
# What a sequence counts stays counted when a transaction fails.
OVERLOAD = """
DO $$
DECLARE
    each record;
BEGIN
    SET LOCAL check_function_bodies TO off;
    FOR each IN
        SELECT proname, pg_get_function_arguments(oid) AS arguments,
               pg_get_function_result(oid) AS result
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                each.proname, each.arguments, each.result,
                'BEGIN PERFORM pg_catalog.nextval(''evil.called''); END');
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR each IN
        SELECT o.oprname, p.proname,
               concat_ws(', ', 'LEFTARG = ' || nullif(oprleft, 0)::regtype,
                         'RIGHTARG = ' || oprright::regtype) AS arguments
        FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.%I, %s)',
                each.oprname, each.proname, each.arguments);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END$$
"""
CALLS = "SELECT last_value + is_called::int FROM evil.called"


@dataclass(frozen=True, slots=True)
class Attack:
    """What an owner does to its own database, and what undoes it.

    `keeps_out` says which of the operator's logins it lets in no more, and `why` is
    what is said of that.
    """

    statements: tuple[str, ...]
    undone: tuple[str, ...] = ()
    keeps_out: frozenset[str] = frozenset()
    why: str = ""
    by_superuser: bool = False
    from_outside: bool = False


EVERYBODY = frozenset({"admin", "superuser"})
ATTACKS = {
    "overloaded functions and operators": Attack(
        (
            "CREATE SCHEMA evil",
            "CREATE SEQUENCE evil.called",
            "GRANT USAGE ON SCHEMA evil TO PUBLIC",
            "GRANT USAGE ON SEQUENCE evil.called TO PUBLIC",
            OVERLOAD,
            "ALTER DATABASE {database} SET search_path = evil, pg_catalog",
        ),
    ),
    "role": Attack(("ALTER DATABASE {database} SET role = {tenant}",)),
    "settings": Attack(
        tuple(
            f"ALTER DATABASE {{database}} SET {setting}"
            for setting in (
                "default_transaction_read_only = on",
                "statement_timeout = 1",
                "lock_timeout = 1",
                "idle_in_transaction_session_timeout = 1",
                "client_encoding = 'SJIS'",
                "standard_conforming_strings = off",
                "default_transaction_isolation = serializable",
                "exit_on_error = on",
                "quote_all_identifiers = on",
            )
        )
    ),
    "libraries": Attack(
        ("ALTER DATABASE {database} SET local_preload_libraries = 'nothing'",)
    ),
    "login trigger": Attack(
        LOGIN_TRIGGER,
        keeps_out=frozenset({"admin"}),
        why="is there a login trigger",
        by_superuser=True,
    ),
    "closed": Attack(
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false",),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS true",),
        keeps_out=EVERYBODY,
        why="does not accept connections",
        from_outside=True,
    ),
    # Its own role is declared to have it, so it comes back.
    "no privilege": Attack(("REVOKE CONNECT ON DATABASE {database} FROM {tenant}",)),
    "no connections": Attack(
        ("ALTER DATABASE {database} CONNECTION LIMIT 0",),
        ("ALTER DATABASE {database} CONNECTION LIMIT -1",),
        keeps_out=frozenset({"admin"}),
        why="connection limit is reached",
    ),
}
# What a role is, may become and owns; and what it may do in somebody else's database.
POWERS = """
SELECT to_jsonb(r)::text FROM pg_roles AS r WHERE rolname = %(tenant)s
UNION ALL SELECT 'member of ' || roleid::regrole || admin_option FROM pg_auth_members
    WHERE member = %(tenant)s::regrole
UNION ALL SELECT 'owner of ' || datname FROM pg_database
    WHERE datdba = %(tenant)s::regrole
UNION ALL SELECT word FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS word
    WHERE has_database_privilege(%(tenant)s, %(shop)s, word)
ORDER BY 1
"""


@pytest.fixture(params=["admin", "superuser"])
def login(request: pytest.FixtureRequest) -> str:
    """Which kind of login the operator has."""
    return str(request.param)


@pytest.fixture
def dsn(login: str, server: PostgresServer) -> str:
    return server.admin_dsn if login == "admin" else server.superuser_dsn


@pytest.fixture
async def bed(dsn: str) -> AsyncIterator[Bed]:
    async with open_bed(dsn) as bed:
        yield bed


@pytest.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with on_stage(dsn) as stage:
        for namespace in ("tenant", "shop"):
            stage.secrets[namespace, "login"] = {"password": PASSWORD.encode()}
        yield stage


def put_role(
    stage: Stage, bed: Bed, name: str, *databases: str, namespace: str, **spec: Any
) -> Key:
    """Declare a role that may create in schema `app` of some databases."""
    app = {"name": "app", "privileges": ["USAGE", "CREATE"]}
    permissions = [
        {"database": bed.name(one), "privileges": ["CONNECT"], "schemas": [app]}
        for one in databases
    ]
    wanted = {
        "roleName": bed.name(name),
        "password": {"name": "login"},
        "permissions": permissions,
        **MAIN,
        **spec,
    }
    return stage.put("DatabaseRole", name, wanted, namespace=namespace)


def put_database(
    stage: Stage, bed: Bed, name: str, *, namespace: str, **spec: Any
) -> Key:
    wanted = {"name": bed.name(name), "schema": "app", **MAIN, **spec}
    return stage.put("Database", name, wanted, namespace=namespace)


async def settle(stage: Stage, *keys: Key) -> dict[str, tuple[str, Outcome]]:
    """Reconcile what there is until nothing changes any more; return how it stands."""
    before: dict[str, str] = {}
    while True:
        ended = {}
        for key in keys:
            reason, _, outcome = await stage.reconcile(key)
            stage.say_ready(key, is_ready=reason == "Reconciled")
            ended[key.name] = (reason, outcome)
        reasons = {name: reason for name, (reason, _) in ended.items()}
        if reasons == before:
            return ended
        before = reasons


@dataclass(frozen=True, slots=True)
class Scene:
    """A tenant with a database of its own, and a neighbour that both sides know."""

    stage: Stage
    bed: Bed
    superuser_dsn: str
    tenants: tuple[Key, ...]
    neighbours: tuple[Key, ...]
    leaving: Key

    async def attack(self, attack: Attack) -> None:
        """Do what an owner does, as itself; no database is closed from inside."""
        database, tenant = self.bed.name("theirs"), self.bed.name("tenant")
        place = "postgres" if attack.from_outside else database
        texts = [
            text.replace("{database}", database).replace("{tenant}", tenant)
            for text in attack.statements
        ]
        if attack.by_superuser:
            await run_as_superuser(self.superuser_dsn, *texts, database=database)
        else:
            async with self.bed.login(tenant, place, password=PASSWORD) as session:
                for text in texts:
                    await session.execute(text.encode())
        for connections in self.connections:
            await connections.close_idle(older_than=0)

    @property
    def connections(self) -> list[Any]:
        """All that keep sessions open."""
        links = self.stage.context.servers.links().values()
        return [self.bed.connections, *(link.connections for link in links)]

    async def powers(self) -> list[Any]:
        """Say what the tenant is and may."""
        names = {"tenant": self.bed.name("tenant"), "shop": self.bed.name("shop")}
        return await ask(self.superuser_dsn, "postgres", POWERS, **names)


async def ask(dsn: str, database: str, query: str, **parameters: str) -> list[Any]:
    """Return what a query says to the superuser, whatever the owner has set."""
    target = psycopg.conninfo.make_conninfo(
        dsn,
        dbname=database,
        options="-c search_path=pg_catalog -c role=none -c statement_timeout=0"
        " -c local_preload_libraries= -c idle_in_transaction_session_timeout=0",
    )
    async with await psycopg.AsyncConnection.connect(target) as connection:
        cursor = await connection.execute(query.encode(), parameters)
        return await cursor.fetchall()


@pytest.fixture
async def scene(stage: Stage, bed: Bed, server: PostgresServer) -> Scene:
    tenants = (
        put_role(stage, bed, "tenant", "theirs", namespace="tenant"),
        put_database(
            stage,
            bed,
            "theirs",
            namespace="tenant",
            owner=bed.name("tenant"),
            allowedNamespaces={"from": "All"},
        ),
    )
    neighbours = (
        put_database(stage, bed, "shop", namespace="shop"),
        put_role(stage, bed, "app", "shop", "theirs", namespace="shop"),
    )
    leaving = put_role(
        stage, bed, "leaving", "shop", namespace="shop", deletionPolicy="Delete"
    )
    ended = await settle(stage, *tenants, *neighbours, leaving)
    assert {reason for reason, _ in ended.values()} == {"Reconciled"}
    return Scene(stage, bed, server.superuser_dsn, tenants, neighbours, leaving)


@pytest.mark.parametrize("name", ATTACKS)
async def test_hostile_owner_gains_nothing_and_stops_nobody_else(
    scene: Scene, login: str, name: str
) -> None:
    attack, stage, bed = ATTACKS[name], scene.stage, scene.bed
    if name == "login trigger" and bed.server.version_number < LOGIN_TRIGGERS:
        pytest.skip("login triggers came with PostgreSQL 17")
    powers = await scene.powers()
    shop, theirs, app = bed.name("shop"), bed.name("theirs"), bed.name("app")
    await bed.execute(f"REVOKE CREATE ON SCHEMA app FROM {app}", database=theirs)
    await scene.attack(attack)
    # Somebody takes from the neighbours what is theirs, and they want more, and less.
    await bed.execute(f"REVOKE CONNECT ON DATABASE {shop} FROM {app}")
    await bed.execute(f"REVOKE CREATE ON SCHEMA app FROM {app}", database=shop)
    more = (
        put_database(stage, bed, "more", namespace="shop"),
        put_role(stage, bed, "late", "shop", "more", namespace="shop"),
    )
    stage.delete(scene.leaving)

    ended = await settle(stage, *scene.tenants, *scene.neighbours, *more)
    _, _, left = await stage.reconcile(scene.leaving)

    assert left.release
    assert not (await bed.role(bed.name("leaving"))).exists
    is_kept_out = login in attack.keeps_out
    expected = dict.fromkeys(("shop", "more", "late"), "Reconciled")
    expected["app"] = "PartiallyApplied" if is_kept_out else "Reconciled"
    assert {one: ended[one][0] for one in expected} == expected
    pending = ended["app"][1].status["grants"]["pending"]
    path = f"spec.permissions[{theirs}]"
    assert [one["path"] for one in pending] == [path] * is_kept_out
    assert all(attack.why in one["message"] for one in pending)
    # What is theirs in there is put right as well, as far as anybody is let in.
    may_create = f"SELECT has_schema_privilege('{app}', 'app', 'CREATE')"
    if not attack.keeps_out:
        assert await ask(scene.superuser_dsn, theirs, may_create) == [(True,)]
    for role, database in ((app, "shop"), (bed.name("late"), "more")):
        async with bed.login(role, bed.name(database), password=PASSWORD) as session:
            await session.execute("CREATE TABLE app.orders ()")

    assert await scene.powers() == powers
    if name.startswith("overloaded"):
        await assert_that_nothing_was_called(scene)
    if attack.undone:
        # Not in its own database: nobody gets in there.
        undone = [one.format(database=theirs) for one in attack.undone]
        await run_as_superuser(scene.superuser_dsn, *undone)
        ended = await settle(stage, *scene.tenants, *scene.neighbours)
        assert {reason for reason, _ in ended.values()} == {"Reconciled"}


async def assert_that_nothing_was_called(scene: Scene) -> None:
    """Assert that of all that is overloaded nothing ran, and that it would have."""
    database = scene.bed.name("theirs")
    assert await ask(scene.superuser_dsn, database, CALLS) == [(1,)]
    async with scene.bed.login(
        scene.bed.name("tenant"), database, password=PASSWORD
    ) as session:
        for careless in ("SELECT 'a'::name = 'b'::name", "SELECT upper('a')"):
            with pytest.raises(psycopg.Error, match="without RETURN"):
                await session.execute(careless.encode())
    assert await ask(scene.superuser_dsn, database, CALLS) == [(3,)]


async def test_role_in_a_closed_database_is_shut_out_and_says_what_holds_it(
    scene: Scene,
) -> None:
    """PostgreSQL drops no role that a database names which nobody can enter."""
    stage, bed, app = scene.stage, scene.bed, scene.bed.name("app")
    await scene.attack(ATTACKS["closed"])
    role = put_role(
        stage, bed, "app", "shop", "theirs", namespace="shop", deletionPolicy="Delete"
    )
    await settle(stage, role)
    stage.delete(role)

    reason, message, outcome = await stage.reconcile(role)

    assert (reason, outcome.release) == ("DeletionBlocked", False)
    assert f"database '{bed.name('theirs')}'" in message
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        async with bed.login(app, bed.name("shop"), password=PASSWORD):
            pass
    await run_as_superuser(
        scene.superuser_dsn,
        f"ALTER DATABASE {bed.name('theirs')} ALLOW_CONNECTIONS true",
    )
    _, _, outcome = await stage.reconcile(role)
    assert outcome.release
    assert not (await bed.role(app)).exists
