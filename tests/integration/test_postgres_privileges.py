"""Whatever a role was permitted before, it can do what it is permitted now.

Random permissions are applied one after the other; after each the role logs in and
tries everything there is to try.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql

from pg_operator.api.privileges import ALL, PRIVILEGES, ObjectKind, expand_all
from pg_operator.api.secret import SecretText
from pg_operator.api.specs import DatabaseRoleSpec, Permission
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import deletion_role, effective_role_policy
from pg_operator.plan.desired import desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import CreateSchema
from pg_operator.plan.privileges import GrantPrivileges
from pg_operator.plan.state import RoleState
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.apply import apply
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.observe_dependencies import observe_dependencies
from pg_operator.reconcilers.foresight import Foresight
from pg_operator.reconcilers.permission_entries import Entry
from pg_operator.reconcilers.permissions import Resolved, _resolve_entry
from pg_operator.reconcilers.servers import Link
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer

Json = dict[str, Any]
SCHEMAS: Final = ("app", "log")


@dataclass(frozen=True)
class Scene:
    """A database with the same few objects in two schemas, and a role."""

    bed: Bed
    database: str
    role: str

    @property
    def writer(self) -> str:
        """A managed role that creates objects in both schemas."""
        return f"{self.role}_writer"

    def permission(self, **fields: object) -> Permission:
        """Return a permission in the database."""
        return Permission.parse({"database": self.database, **fields})

    async def resolve(self, permission: Permission) -> tuple[Resolved, RoleState]:
        """Look at the server as a reconcile does."""
        observed = await self.bed.role(self.role)
        entry = Entry(await self.bed.database(self.database), permission)
        dsn = parse_dsn(SecretText(self.bed.dsn), allow_loopback=True)
        link = Link(self.bed.server, dsn, self.bed.connections, ())
        resolved = await _resolve_entry(link, entry, observed, foresight=Foresight())
        return resolved, replace(observed, grants=observed.grants | resolved.held)

    async def plan(self, permission: Permission) -> Plan:
        """Return what one reconcile would write."""
        resolved, observed = await self.resolve(permission)
        assert resolved.pending == ()
        spec = DatabaseRoleSpec.parse(
            {"roleName": self.role, "databaseClusterRef": {"name": "main"}}
        )
        desired = desired_role(
            spec,
            claimant=self.bed.claimant("DatabaseRole"),
            observed=observed,
            server=self.bed.server,
            password=None,
            grants=resolved.grants,
            scope=resolved.scope,
        )
        return diff(desired, observed)

    async def reconcile(self, permission: Permission) -> Applied:
        """Make a permission true."""
        return await apply(
            await self.plan(permission),
            server=self.bed.server,
            connections=self.bed.connections,
            keyring=self.bed.keyring,
        )


def private_code(schema: str, function: str, type_: str) -> tuple[str, ...]:
    """Return statements that make a function and a type, and take PUBLIC off them."""
    return (
        f"CREATE FUNCTION {schema}.{function}(int) RETURNS int RETURN 1",
        f"REVOKE EXECUTE ON FUNCTION {schema}.{function} FROM PUBLIC",
        f"CREATE TYPE {schema}.{type_} AS ENUM ('good')",
        f"REVOKE USAGE ON TYPE {schema}.{type_} FROM PUBLIC",
    )


@pytest.fixture
async def scene(bed: Bed) -> Scene:
    scene = Scene(bed, bed.name("shop"), bed.name("app"))
    await bed.create_database(scene.database)
    await bed.create_role(scene.role)
    await bed.create_role(scene.writer)
    await bed.grant(scene.writer, "CONNECT", database=scene.database)
    for schema in SCHEMAS:
        await bed.apply(CreateSchema(scene.database, schema))
        await bed.execute(
            f"CREATE TABLE {schema}.a (id int, note text)",
            f"CREATE TABLE {schema}.b (id int, note text)",
            f"CREATE SEQUENCE {schema}.ids",
            *private_code(schema, "f", "mood"),
            database=scene.database,
        )
        await bed.grant(
            scene.writer, "USAGE", "CREATE", database=scene.database, schema=schema
        )
    return scene


# What can be tried, as the words of which one at least is needed, on which objects.
# A word on a table is one on its columns.


@dataclass(frozen=True)
class Attempt:
    """A statement, and the privileges (kind, object, words) it needs one of each of."""

    statement: str
    needs: tuple[tuple[ObjectKind, str, frozenset[str]], ...]


def needs(
    kind: ObjectKind, name: str, *words: str
) -> tuple[ObjectKind, str, frozenset[str]]:
    return kind, name, frozenset(words)


@dataclass(frozen=True)
class Objects:
    """What there is in each schema to try something on."""

    tables: tuple[str, ...] = ("a", "b")
    sequence: str = "ids"
    function: str = "f"
    type: str = "mood"


EXISTING: Final = Objects()
LATER: Final = Objects(("later",), "next", "g", "weather")


def attempts(schema: str, objects: Objects) -> Iterable[Attempt]:
    inside = needs("schema", "", "USAGE")

    def attempt(
        statement: str, *wanted: tuple[ObjectKind, str, frozenset[str]]
    ) -> Attempt:
        return Attempt(statement, (inside, *wanted))

    for table in objects.tables:
        on = f"{schema}.{table}"
        for column in ("id", "note"):
            read = f"SELECT {column} FROM {on}"
            write = f"UPDATE {on} SET {column} = NULL"
            add = f"INSERT INTO {on} ({column}) VALUES (NULL)"
            place = f"{table}.{column}"
            yield attempt(read, needs("column", place, "SELECT"))
            yield attempt(write, needs("column", place, "UPDATE"))
            yield attempt(add, needs("column", place, "INSERT"))
        yield attempt(f"DELETE FROM {on}", needs("table", table, "DELETE"))
        yield attempt(f"TRUNCATE {on}", needs("table", table, "TRUNCATE"))
        trigger = (
            f"CREATE TRIGGER t BEFORE INSERT ON {on} EXECUTE FUNCTION"
            " pg_catalog.suppress_redundant_updates_trigger()"
        )
        yield attempt(trigger, needs("table", table, "TRIGGER"))
    sequence = objects.sequence
    ids = f"'{schema}.{sequence}'"
    yield attempt(
        f"SELECT nextval({ids})", needs("sequence", sequence, "USAGE", "UPDATE")
    )
    yield attempt(
        f"SELECT currval({ids})", needs("sequence", sequence, "USAGE", "SELECT")
    )
    yield attempt(f"SELECT setval({ids}, 5)", needs("sequence", sequence, "UPDATE"))
    call = f"SELECT {schema}.{objects.function}(1)"
    yield attempt(call, needs("function", f"{objects.function}(int)", "EXECUTE"))
    use = f"CREATE TEMPORARY TABLE mine (my {schema}.{objects.type})"
    yield attempt(use, needs("type", objects.type, "USAGE"))
    yield Attempt(f"CREATE TABLE {schema}.mine ()", (needs("schema", "", "CREATE"),))


class Model:
    """What a permission lets a role do in one schema."""

    def __init__(self, schema: Json, *, version: int) -> None:
        self._schema = schema
        self._version = version

    def allows(self, attempt: Attempt) -> bool:
        """Tell whether every need is met."""
        return all(
            not self._words(kind, name).isdisjoint(wanted)
            for kind, name, wanted in attempt.needs
        )

    def _words(self, kind: ObjectKind, name: str) -> frozenset[str]:
        match kind:
            case "schema":
                return self._expand(kind, self._schema.get("privileges", []))
            case "column":
                table, column = name.split(".")
                own = [
                    self._expand(kind, each.get("privileges", []))
                    for entry in self._schema.get("tables", [])
                    for each in entry.get("columns", [])
                    if (entry["name"], each["name"]) == (table, column)
                ]
                return self._words("table", table).union(*own)
            case _:
                entries = self._schema.get(f"{kind}s", [])
                return frozenset().union(
                    *(
                        self._expand(kind, entry.get("privileges", []))
                        for entry in entries
                        if entry["name"] == name
                        or (entry["name"] == "*" and not self._leaves_out(kind, name))
                    )
                )

    def _leaves_out(self, kind: ObjectKind, name: str) -> bool:
        return kind == "table" and name in self._schema.get("exceptTables", [])

    def _expand(self, kind: ObjectKind, written: list[str]) -> frozenset[str]:
        if ALL in written:
            return expand_all(kind, self._version)
        return frozenset(written)


# Random permissions


def word_lists(kind: ObjectKind) -> st.SearchStrategy[list[str]]:
    """Draw words that every server has, or ALL."""
    known = [privilege.word for privilege in PRIVILEGES[kind] if not privilege.since]
    some = st.lists(st.sampled_from(known), unique=True, max_size=3)
    return some | st.just([ALL])


def entries(
    kind: ObjectKind, *names: str, **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Json]]:
    """Draw entries of some of the names."""
    entry = st.fixed_dictionaries(
        {"name": st.sampled_from(names), "privileges": word_lists(kind)},
        optional=more,
    )
    return st.lists(entry, unique_by=lambda each: str(each["name"]), max_size=2)


named_tables = entries("table", "a", "b", columns=entries("column", "id", "note"))
all_tables = entries("table", "*")
schema_entries = st.fixed_dictionaries(
    {
        "name": st.sampled_from(SCHEMAS),
        "privileges": st.just(["USAGE"]) | word_lists("schema"),
    },
    optional={
        "tables": st.tuples(named_tables, all_tables).map(lambda two: two[0] + two[1]),
        "sequences": entries("sequence", "ids", "*"),
        "functions": entries("function", "f(int)", "*"),
        "exceptTables": st.just(["b", "later"]),
        "types": entries("type", "mood", "*"),
    },
)
permissions = st.lists(
    schema_entries, unique_by=lambda each: str(each["name"]), max_size=2
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # an example takes a second: shrinking would take hours
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(permissions, min_size=2, max_size=3))
async def test_role_can_do_what_it_is_permitted_now_and_nothing_else(
    scene: Scene, sequence: list[list[Json]]
) -> None:
    for schemas in sequence:
        permission = scene.permission(
            privileges=["CONNECT", "TEMPORARY"], schemas=schemas
        )
        applied = await scene.reconcile(permission)
        assert applied.pending == ()
        assert await scene.plan(permission) == Plan()
        await try_everything(scene, schemas)
        async with created_later(scene):
            # What is left out comes with default privileges and goes at the next look.
            await scene.reconcile(permission)
            await try_everything(scene, schemas, LATER)


@contextlib.asynccontextmanager
async def created_later(scene: Scene) -> AsyncIterator[None]:
    """Create more objects, as an application does, and drop them again."""
    async with scene.bed.login(scene.writer, scene.database) as connection:
        for schema in SCHEMAS:
            for statement in (
                f"CREATE TABLE {schema}.later (id int, note text)",
                f"CREATE SEQUENCE {schema}.next",
                *private_code(schema, "g", "weather"),
            ):
                await connection.execute(sql.SQL(statement))
        yield
        for schema in SCHEMAS:
            for statement in (
                f"DROP TABLE {schema}.later",
                f"DROP SEQUENCE {schema}.next",
                f"DROP FUNCTION {schema}.g",
                f"DROP TYPE {schema}.weather",
            ):
                await connection.execute(sql.SQL(statement))


async def try_everything(
    scene: Scene, schemas: list[Json], objects: Objects = EXISTING
) -> None:
    """Log in as the role, and compare what works with what the model says."""
    by_name = {schema["name"]: schema for schema in schemas}
    version = scene.bed.server.version_number
    async with scene.bed.login(scene.role, scene.database) as connection:
        for schema in SCHEMAS:
            model = Model(by_name.get(schema, {}), version=version)
            for attempt in attempts(schema, objects):
                worked = await _works(connection, attempt.statement)
                assert worked == model.allows(attempt), (attempt, schemas)


async def _works(connection: psycopg.AsyncConnection, statement: str) -> bool:
    """Tell whether the role may run a statement, and undo it."""
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(sql.SQL(statement))
    except errors.InsufficientPrivilege:
        return False
    except errors.ObjectNotInPrerequisiteState:
        return True  # allowed, but nextval() was never called in this session
    return True


# Single cases


@pytest.mark.parametrize(
    ("kind", "letter"),
    [
        ("database", "d"),
        ("schema", "n"),
        ("table", "r"),
        ("sequence", "s"),
        ("function", "f"),
        ("type", "T"),
    ],
)
async def test_all_is_what_the_server_gives_an_owner(
    bed: Bed, kind: ObjectKind, letter: str
) -> None:
    query = (
        "SELECT array_agg(privilege_type) FROM aclexplode(acldefault(%s, 10))"
        " WHERE grantee = 10"
    )
    async with bed.connections.session() as connection:
        cursor = await connection.execute(query, [letter])
        row = await cursor.fetchone()
    assert row is not None
    assert set(row[0]) == expand_all(kind, bed.server.version_number)


async def test_column_given_by_hand_outlives_a_revoke_on_its_table(
    scene: Scene,
) -> None:
    """PostgreSQL takes the columns along with the table."""
    table = {"name": "a", "privileges": ["SELECT"]}
    both = scene.permission(schemas=[{"name": "app", "tables": [table]}])
    await scene.reconcile(both)
    await scene.bed.execute(
        f"GRANT SELECT (note) ON app.a TO {scene.role}", database=scene.database
    )
    await scene.reconcile(scene.permission())
    grants = await scene.bed.grants(scene.role, database=scene.database)
    note = Securable("column", scene.database, "app", "a", "note")
    assert grants == {Grant(note, "SELECT")}


async def test_words_on_columns_of_an_own_table_count_as_held(scene: Scene) -> None:
    await scene.bed.execute(
        f"GRANT CREATE ON SCHEMA app TO {scene.role}",
        f"ALTER TABLE app.a OWNER TO {scene.role}",
        database=scene.database,
    )
    column = {"name": "id", "privileges": ["ALL"]}
    table = {"name": "a", "privileges": ["ALL"], "columns": [column]}
    schema = {"name": "app", "tables": [table]}
    permission = scene.permission(schemas=[schema])
    plan = await scene.plan(permission)
    assert not any(isinstance(one, GrantPrivileges) for one in plan.operations)
    await scene.reconcile(permission)

    # Nor is taken away what it holds as the owner.
    await scene.reconcile(scene.permission())
    held = await scene.bed.grants(scene.role, database=scene.database)
    on = Securable("table", scene.database, "app", "a")
    assert {Grant(on, "SELECT"), Grant(on, "DELETE")} <= held


async def test_object_that_cannot_be_granted_on_is_the_only_one_left_out(
    scene: Scene, server: PostgresServer
) -> None:
    """Of many in one statement, and each of its words is counted."""
    names = [f"t{number:02}" for number in range(21)]
    await scene.bed.execute(
        *(f"CREATE TABLE app.{name} ()" for name in names), database=scene.database
    )
    await run_as_superuser(
        server.superuser_dsn,
        "ALTER TABLE app.t13 OWNER TO CURRENT_USER",
        database=scene.database,
    )
    table = {"name": "*", "privileges": ["SELECT", "INSERT"]}
    permission = scene.permission(schemas=[{"name": "app", "tables": [table]}])
    applied = await scene.reconcile(permission)
    (pending,) = applied.pending
    assert pending.path == f"{scene.database}.app.t13"
    assert len(applied.ungranted) == 2
    held = {
        grant.on.name
        for grant in await scene.bed.grants(scene.role, database=scene.database)
    }
    assert held == {"*", "a", "b", *names} - {"t13"}


async def test_members_of_extensions_are_left_alone(
    scene: Scene, server: PostgresServer
) -> None:
    await run_as_superuser(
        server.superuser_dsn,
        "CREATE EXTENSION pg_stat_statements SCHEMA app",
        f"GRANT SELECT ON app.pg_stat_statements TO {scene.role}",
        database=scene.database,
    )
    everything = [{"name": "*", "privileges": ["ALL"]}]
    named = {"name": "pg_stat_statements_info()", "privileges": ["EXECUTE"]}
    schema = {
        "name": "app",
        "tables": everything,
        "functions": [*everything, named],
        "types": everything,
    }
    resolved, _ = await scene.resolve(scene.permission(schemas=[schema]))
    assert [part.reason for part in resolved.pending] == ["FunctionNotFound"]
    existing = {grant.on.name for grant in resolved.grants if not grant.on.creator}
    assert existing == {"a", "b", "f(integer)", "mood"}

    table = {"name": "*", "privileges": ["SELECT"]}
    permission = scene.permission(schemas=[{"name": "app", "tables": [table]}])
    applied = await scene.reconcile(permission)
    assert applied.pending == ()
    await scene.reconcile(scene.permission())
    held = await scene.bed.grants(scene.role, database=scene.database)
    assert held == frozenset()
    async with scene.bed.connections.session(scene.database) as connection:
        cursor = await connection.execute(
            "SELECT has_table_privilege(%s, 'app.pg_stat_statements', 'SELECT')",
            [scene.role],
        )
        assert await cursor.fetchone() == (True,)


async def test_future_objects_follow_when_the_schema_gets_another_owner(
    scene: Scene,
) -> None:
    bed, owner = scene.bed, scene.bed.name("owner")
    await bed.create_role(owner)
    tables = {"name": "*", "privileges": ["SELECT"]}
    permission = scene.permission(schemas=[{"name": "app", "tables": [tables]}])
    await scene.reconcile(permission)

    async def creators() -> set[str]:
        grants = await bed.grants(scene.role, database=scene.database)
        return {grant.on.creator for grant in grants} - {""}

    assert await creators() == {bed.server.login, scene.writer}
    await bed.execute(
        f"ALTER DATABASE {scene.database} OWNER TO {owner}",
        f"ALTER SCHEMA app OWNER TO {owner}",
        f"REVOKE CREATE ON SCHEMA app FROM {scene.writer}",
        database=scene.database,
    )
    await scene.reconcile(permission)
    assert await creators() == {owner}
    assert await scene.plan(permission) == Plan()
    await scene.reconcile(scene.permission())
    assert await creators() == set()


async def test_default_privileges_are_nothing_that_a_creator_owns(
    scene: Scene,
) -> None:
    """Else it would be kept for them when its object is deleted."""
    tables = {"name": "*", "privileges": ["SELECT"]}
    await scene.reconcile(
        scene.permission(schemas=[{"name": "app", "tables": [tables]}])
    )
    async with scene.bed.connections.session() as connection:
        found = await observe_dependencies(connection, [scene.writer])
    dependencies = found[scene.writer]
    assert dependencies.owner_in == frozenset()
    assert scene.database in dependencies.granted_in


async def test_default_privileges_made_by_hand_elsewhere_stay(scene: Scene) -> None:
    await scene.bed.execute(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {scene.writer} IN SCHEMA app"
        f" GRANT INSERT ON TABLES TO {scene.role}",
        database=scene.database,
    )
    everywhere = f"ALTER DEFAULT PRIVILEGES FOR ROLE {scene.writer}"
    await scene.bed.execute(
        f"{everywhere} GRANT SELECT ON TABLES TO {scene.role}", database=scene.database
    )
    tables = {"name": "*", "privileges": ["SELECT"]}
    permission = scene.permission(schemas=[{"name": "app", "tables": [tables]}])
    await scene.reconcile(permission)
    # What holds in all schemas is not ours: it may go, and what we granted stays.
    await scene.bed.execute(
        f"{everywhere} REVOKE SELECT ON TABLES FROM {scene.role}",
        database=scene.database,
    )
    on = Securable("table", scene.database, "app", "*", creator=scene.writer)
    held = await scene.bed.grants(scene.role, database=scene.database)
    assert held >= {Grant(on, "SELECT"), Grant(on, "INSERT")}
    await scene.reconcile(scene.permission())
    held = await scene.bed.grants(scene.role, database=scene.database)
    assert held == {Grant(on, "INSERT")}


async def test_functions_are_found_by_any_way_to_write_their_signature(
    scene: Scene,
) -> None:
    await scene.bed.execute(
        "CREATE FUNCTION app.over(int, text[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION app.over(app.mood) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        'CREATE PROCEDURE app."Do It"() LANGUAGE sql AS $$SELECT 1$$',
        "CREATE AGGREGATE app.most(int) (SFUNC = int4larger, STYPE = int)",
        database=scene.database,
    )
    functions = [
        {"name": name, "privileges": ["EXECUTE"]}
        for name in (
            "OVER (INT4, pg_catalog.text[])",
            "over(app.mood)",
            '"Do It"()',
            "most(integer)",
        )
    ]
    permission = scene.permission(schemas=[{"name": "app", "functions": functions}])
    applied = await scene.reconcile(permission)
    assert applied.pending == ()
    assert await scene.plan(permission) == Plan()
    held = await scene.bed.grants(scene.role, database=scene.database)
    assert {grant.on.name for grant in held} == {
        "over(integer,text[])",
        "over(app.mood)",
        '"Do It"()',
        "most(integer)",
    }


@pytest.mark.parametrize(
    "written",
    ["nothing(int)", "f(nothing)", "f(app.nothing)", "f(a b c d)", 'f("x)', "f(,)"],
)
async def test_signature_that_means_nothing_is_pending_alone(
    scene: Scene, written: str
) -> None:
    """PostgreSQL up to 15 raises an error for some of these."""
    functions = [
        {"name": name, "privileges": ["EXECUTE"]} for name in (written, "f(int)")
    ]
    permission = scene.permission(schemas=[{"name": "app", "functions": functions}])
    resolved, _ = await scene.resolve(permission)
    assert [part.reason for part in resolved.pending] == ["FunctionNotFound"]
    on = Securable("function", scene.database, "app", "f(integer)")
    assert resolved.grants == {Grant(on, "EXECUTE")}


async def test_role_passes_on_what_is_grantable_until_it_is_not(scene: Scene) -> None:
    bed, other = scene.bed, scene.bed.name("other")
    await bed.create_role(other)
    await bed.grant(other, "CONNECT", database=scene.database)

    def permitted(*grantable: str) -> Permission:
        words = ["SELECT", "INSERT"]
        table = {"name": "a", "privileges": words, "grantable": list(grantable)}
        schema = {"name": "app", "privileges": ["ALL"], "grantable": ["USAGE"]}
        schemas = [{**schema, "tables": [table]}]
        return scene.permission(privileges=["CONNECT"], schemas=schemas)

    applied = await scene.reconcile(permitted("SELECT"))
    assert applied.pending == ()
    assert await scene.plan(permitted("SELECT")) == Plan()
    async with (
        bed.login(scene.role, scene.database) as connection,
        bed.login(other, scene.database) as borrower,
    ):
        await connection.execute(
            sql.SQL(
                f"GRANT SELECT ON app.a TO {other};"
                f"GRANT INSERT ON app.a TO {other};"  # warned of, and does nothing
                f"GRANT USAGE ON SCHEMA app TO {other}"
            )
        )
        await borrower.execute("SELECT id FROM app.a")
        with pytest.raises(errors.InsufficientPrivilege):
            await borrower.execute("INSERT INTO app.a VALUES (1)")

        # What was passed on goes with the right to pass it on.
        applied = await scene.reconcile(permitted())
        assert applied.pending == ()
        assert await scene.plan(permitted()) == Plan()
        await connection.execute("SELECT id FROM app.a")
        with pytest.raises(errors.InsufficientPrivilege):
            await borrower.execute("SELECT id FROM app.a")


async def test_grant_of_another_managed_role_is_revoked_as_that_role(
    scene: Scene,
) -> None:
    """PostgreSQL lets nobody else, and says nothing when somebody else tries."""
    words = ["SELECT", "INSERT"]
    table = {"name": "a", "privileges": words}
    permission = scene.permission(schemas=[{"name": "app", "tables": [table]}])
    await scene.bed.execute(
        f"GRANT SELECT, UPDATE (note) ON app.a TO {scene.writer} WITH GRANT OPTION",
        database=scene.database,
    )
    async with scene.bed.login(scene.writer, scene.database) as connection:
        await connection.execute(sql.SQL(f"GRANT SELECT ON app.a TO {scene.role}"))
    await scene.reconcile(permission)
    applied = await scene.reconcile(scene.permission())
    assert applied.pending == ()
    assert await scene.bed.grants(scene.role, database=scene.database) == frozenset()
    assert await scene.plan(scene.permission()) == Plan()
    # We are ourselves again afterwards.
    async with scene.bed.connections.session(scene.database) as ours:
        cursor = await ours.execute("SELECT current_user = session_user")
        assert await cursor.fetchone() == (True,)


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
async def test_idle_resync_assigns_no_transaction_id(
    scene: Scene, server: PostgresServer, count: int
) -> None:
    await scene.bed.execute(
        *(f"CREATE TABLE app.t{number} (id int)" for number in range(50)),
        database=scene.database,
    )
    everything = {"name": "*", "privileges": ["ALL"]}
    permission = scene.permission(
        privileges=["CONNECT"],
        schemas=[{"name": "app", "privileges": ["USAGE"], "tables": [everything]}],
    )
    roles = [replace(scene, role=scene.bed.name(f"r{n}")) for n in range(count)]
    for each in roles:
        await scene.bed.create_role(each.role)
        applied = await each.reconcile(permission)
        assert applied.pending == ()

    async with autovacuum_off(server):
        before = await next_transaction_id(server)
        for each in roles:
            assert await each.plan(permission) == Plan()
        assert await next_transaction_id(server) == before


@contextlib.asynccontextmanager
async def autovacuum_off(server: PostgresServer) -> AsyncIterator[None]:
    """Keep autovacuum, which takes transaction ids too, from working in the block."""
    workers = "SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    connection = await psycopg.AsyncConnection.connect(
        server.superuser_dsn, autocommit=True
    )
    async with connection:
        await connection.execute("ALTER SYSTEM SET autovacuum TO off")
        await connection.execute("SELECT pg_reload_conf()")
        try:
            while (await connection.execute(workers)).rowcount > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            yield
        finally:
            await connection.execute("ALTER SYSTEM RESET autovacuum")
            await connection.execute("SELECT pg_reload_conf()")


async def next_transaction_id(server: PostgresServer) -> int:
    connection = await psycopg.AsyncConnection.connect(server.superuser_dsn)
    async with connection:
        cursor = await connection.execute(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8"
        )
        (number,) = await cursor.fetchone() or (0,)
    return int(number)


@pytest.mark.slow
async def test_wildcard_covers_ten_thousand_tables(scene: Scene) -> None:
    """The server's lock table is smaller than that."""
    for part in range(10):
        await scene.bed.execute(
            "DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE"
            f" pg_catalog.format('CREATE TABLE app.t{part}_%s ()', n);"
            " END LOOP; END $$",
            database=scene.database,
        )
    everything = {"name": "*", "privileges": ["SELECT", "INSERT"]}
    permission = scene.permission(schemas=[{"name": "app", "tables": [everything]}])
    applied = await scene.reconcile(permission)
    assert applied.pending == ()
    assert await scene.plan(permission) == Plan()
    applied = await scene.reconcile(scene.permission())
    assert applied.pending == ()
    assert await scene.bed.grants(scene.role, database=scene.database) == frozenset()


@pytest.mark.parametrize("which", ["writer", "role"])
async def test_role_goes_with_the_default_privileges_it_has_or_is_named_in(
    scene: Scene, which: str
) -> None:
    tables = {"name": "*", "privileges": ["ALL"], "grantable": ["ALL"]}
    schema = {"name": "app", "privileges": ["USAGE"], "tables": [tables]}
    permission = scene.permission(
        privileges=["CONNECT"], grantable=["CONNECT"], schemas=[schema]
    )
    await scene.reconcile(permission)
    name = getattr(scene, which)
    async with scene.bed.connections.session() as connection:
        found = await observe_dependencies(connection, [name])
    assert effective_role_policy(None, found[name]) == "Delete"
    plan = deletion_role(
        await scene.bed.role(name),
        policy="Delete",
        dependencies=found[name],
        heir=RoleState(scene.bed.name("heir"), exists=False),
        homes={},
    )
    applied = await scene.bed.apply(*plan.operations)
    assert applied.pending == ()
    assert not (await scene.bed.role(name)).exists
