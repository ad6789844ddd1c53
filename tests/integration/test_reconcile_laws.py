"""Whatever a role declares, it can do that and nothing else: tried, as the role."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from pg_operator.reconcilers.planning import plan_object
from tests.integration.postgres_bed import PASSWORD, Bed
from tests.integration.reconcile_bed import MAIN, Stage
from tests.unit.test_plan_laws import subsets

MAINTAIN_SINCE: Final = 170000
DEFAULT_WORK_MEM: Final = "4MB"
TABLE_WORDS: Final = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
)
COLUMN_WORDS: Final = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
EVERY_WORD: Final[Mapping[str, tuple[str, ...]]] = {
    "database": ("CONNECT", "CREATE", "TEMPORARY"),
    "schema": ("USAGE", "CREATE"),
    "tables": (*TABLE_WORDS, "MAINTAIN"),
    "columns": COLUMN_WORDS,
    "sequences": ("USAGE", "SELECT", "UPDATE"),
    "functions": ("EXECUTE",),
    "types": ("USAGE",),
}
# Made by the operator's login; PUBLIC has a schema to work in, and nothing else.
WORLD: Final = (
    "CREATE TABLE app.a (id int PRIMARY KEY, note text)",
    "CREATE TABLE app.b (id int PRIMARY KEY, note text)",
    "CREATE SEQUENCE app.ids",
    "CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
    "CREATE TYPE app.mood AS ENUM ('fine')",
    "REVOKE ALL ON FUNCTION app.f(int) FROM PUBLIC",
    "REVOKE ALL ON TYPE app.mood FROM PUBLIC",
    "CREATE SCHEMA own",
    "GRANT ALL ON SCHEMA own TO PUBLIC",
)
BY_HAND: Final = (
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}",
    "GRANT USAGE, CREATE ON SCHEMA app TO {role} WITH GRANT OPTION",
    "GRANT ALL ON app.b TO {role} WITH GRANT OPTION",
    "GRANT SELECT (note), UPDATE (note) ON app.a TO {role}",
    "GRANT ALL ON SEQUENCE app.ids TO {role}",
    "GRANT EXECUTE ON FUNCTION app.f(int) TO {role}",
    "GRANT USAGE ON TYPE app.mood TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {maker} GRANT ALL ON SEQUENCES TO {role}",
    """ALTER DEFAULT PRIVILEGES FOR ROLE {maker} IN SCHEMA app
       GRANT ALL ON TABLES TO {role}""",
)
CREATE_TRIGGER: Final = """
CREATE TRIGGER x BEFORE UPDATE ON app.{table} FOR EACH ROW
    EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()
"""
MAKE: Final = """
CREATE TABLE app.later (id int);
CREATE SEQUENCE app.later_ids;
CREATE FUNCTION app.later(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
"""
UNMAKE: Final = """
DROP FUNCTION app.later(int);
DROP SEQUENCE app.later_ids;
DROP TABLE app.later;
"""


def words(*choices: str) -> st.SearchStrategy[dict[str, list[str]]]:
    """Draw words, some of which may be passed on; or all of them."""
    some = subsets(*choices).flatmap(
        lambda drawn: st.fixed_dictionaries(
            {"privileges": st.just(drawn), "grantable": subsets(*drawn)}
        )
    )
    grantable: list[list[str]] = [[], ["ALL"]]
    everything = [{"privileges": ["ALL"], "grantable": one} for one in grantable]
    return some | st.sampled_from(everything)


def entries(
    kind: str, *names: str, columns: tuple[str, ...] = ()
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw a list of `permissions`: which names there are, and their words."""
    choices = TABLE_WORDS if kind == "tables" else EVERY_WORD[kind]

    def entry(name: str) -> st.SearchStrategy[dict[str, Any]]:
        drawn = words(*choices).map(lambda drawn: {"name": name, **drawn})
        if not columns or name == "*":
            return drawn
        return st.tuples(drawn, entries("columns", *columns)).map(
            lambda both: {**both[0], "columns": both[1]}
        )

    return subsets(*names).flatmap(
        lambda drawn: st.tuples(*map(entry, drawn)).map(list)
    )


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    tables = draw(entries("tables", "*", "a", "b", columns=("id", "note")))
    is_wild = any(table["name"] == "*" for table in tables)
    return {
        "name": "app",
        **draw(words(*EVERY_WORD["schema"])),
        "tables": tables,
        "exceptTables": draw(subsets("a", "b")) if is_wild else [],
        "sequences": draw(entries("sequences", "*", "ids")),
        "functions": draw(entries("functions", "*", "f(integer)")),
        "types": draw(entries("types", "*", "mood")),
    }


@dataclass(frozen=True)
class Declared:
    """What a DatabaseRole declares; `by_hand` is what somebody grants it before."""

    database: Mapping[str, list[str]]
    schema: Mapping[str, Any]
    is_member: bool
    parameters: tuple[str | None, str | None]
    by_hand: tuple[str, ...] | None

    def spec(self, *, database: str, group: str) -> dict[str, Any]:
        """Return it as a spec: nothing else is its own if anything is granted."""
        everywhere, here = (
            {} if value is None else {"parameters": {"work_mem": value}}
            for value in self.parameters
        )
        schemas = [self.schema]
        return {
            "permissions": [
                {"database": database, **self.database, "schemas": schemas, **here}
            ],
            "memberOf": [{"role": group}] if self.is_member else [],
            "grantsPolicy": "Additive" if self.by_hand is None else "Exact",
            **everywhere,
        }

    def on(self, kind: str, name: str, field: str = "privileges") -> set[str]:
        """Return the words on an object, which a new one has by `*` only."""
        left_out = self.schema["exceptTables"] if kind == "tables" else []
        names = {name} if name in left_out else {name, "*"}
        return {
            word
            for entry in self.schema[kind]
            if entry["name"] in names
            for word in expanded(kind, entry.get(field, ()))
        }

    def on_column(self, table: str, column: str) -> set[str]:
        """Return the words on a column, its own and its table's."""
        own = {
            word
            for entry in self.schema["tables"]
            if entry["name"] == table
            for part in entry.get("columns", ())
            if part["name"] == column
            for word in expanded("columns", part["privileges"])
        }
        return own | self.on("tables", table)

    def may(self, version: int) -> Iterator[tuple[str, bool]]:
        """Return statements, and whether each is allowed."""
        database = expanded("database", self.database["privileges"])
        schema = expanded("schema", self.schema["privileges"])
        yield "CREATE SCHEMA another", "CREATE" in database
        yield "CREATE TEMPORARY TABLE passing ()", "TEMPORARY" in database
        yield "CREATE TABLE app.mine ()", "CREATE" in schema
        # The group has USAGE, too.
        usage = "USAGE" in schema or self.is_member
        for statement, is_allowed in (
            *self._tables(version),
            *self._others(),
            *self._later(),
        ):
            yield statement, usage and is_allowed

    def _tables(self, version: int) -> Iterator[tuple[str, bool]]:
        for table in ("a", "b"):
            own = self.on("tables", table)
            for column, value in (("id", "1"), ("note", "''")):
                of = self.on_column(table, column)
                yield f"SELECT {column} FROM app.{table}", "SELECT" in of
                yield f"UPDATE app.{table} SET {column} = {value}", "UPDATE" in of
            key = self.on_column(table, "id")
            yield f"INSERT INTO app.{table} (id) VALUES (1)", "INSERT" in key
            yield (
                f"CREATE TABLE own.x (id int REFERENCES app.{table} (id))",
                "REFERENCES" in key,
            )
            yield f"DELETE FROM app.{table}", "DELETE" in own
            by_group = table == "b" and self.is_member
            yield f"TRUNCATE app.{table}", "TRUNCATE" in own or by_group
            yield CREATE_TRIGGER.format(table=table), "TRIGGER" in own
            if version >= MAINTAIN_SINCE:
                yield f"REINDEX TABLE app.{table}", "MAINTAIN" in own
            yield (
                f"GRANT SELECT ON app.{table} TO CURRENT_USER",
                "SELECT" in self.on("tables", table, "grantable"),
            )

    def _others(self) -> Iterator[tuple[str, bool]]:
        ids = self.on("sequences", "ids")
        yield "SELECT nextval('app.ids')", bool(ids & {"USAGE", "UPDATE"})
        yield "SELECT last_value FROM app.ids", "SELECT" in ids
        yield "SELECT setval('app.ids', 7)", "UPDATE" in ids
        function = self.on("functions", "f(integer)")
        yield "SELECT app.f(1)", "EXECUTE" in function
        yield "CREATE TABLE own.y (mood app.mood)", "USAGE" in self.on("types", "mood")

    def _later(self) -> Iterator[tuple[str, bool]]:
        """What a creator of the schema made since."""
        table, ids = self.on("tables", "later"), self.on("sequences", "later_ids")
        yield "SELECT id FROM app.later", "SELECT" in table
        yield "DELETE FROM app.later", "DELETE" in table
        yield "SELECT setval('app.later_ids', 7)", "UPDATE" in ids
        function = self.on("functions", "later(integer)")
        yield "SELECT app.later(1)", "EXECUTE" in function


def expanded(kind: str, drawn: list[str]) -> set[str]:
    """Return words with `ALL` as what it stands for."""
    return {*EVERY_WORD[kind]} if "ALL" in drawn else {*drawn}


declarations = st.builds(
    Declared,
    database=words(*EVERY_WORD["database"]),
    schema=schemas(),
    is_member=st.booleans(),
    parameters=st.tuples(*[st.sampled_from((None, "5MB", "6MB"))] * 2),
    by_hand=st.none() | subsets(*BY_HAND).map(tuple),
)


class Scene:
    """A database with a world in it, and a role that is told ever new things."""

    def __init__(self, stage: Stage, bed: Bed) -> None:
        self.stage = stage
        self.bed = bed
        self.database = bed.name("db")
        self.names = {name: bed.name(name) for name in ("role", "group", "maker")}
        stage.secrets["shop", "password"] = {"password": PASSWORD.encode()}

    async def prepare(self) -> None:
        """Make everything but the role's permissions."""
        schema = {"name": "app", "creators": [self.names["maker"]]}
        await self.apply("role")
        await self.apply("maker")
        await self.make("Database", "db", name=self.database, schemas=[schema])
        await self.bed.execute(*WORLD, database=self.database)
        using = {"name": "app", "privileges": ["USAGE"]}
        making = {"name": "app", "privileges": ["ALL"]}
        shared = {"name": "b", "privileges": ["TRUNCATE"]}
        await self.apply("group", **self._permitted([], {**using, "tables": [shared]}))
        await self.apply("maker", **self._permitted(["CONNECT"], making))
        async with self.bed.login(self.names["maker"], self.database) as connection:
            revoke = "ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC"
            await connection.execute(sql.SQL(revoke))

    def _permitted(self, on_database: list[str], schema: Any) -> dict[str, Any]:
        place = {"database": self.database, "privileges": on_database}
        return {"permissions": [{**place, "schemas": [schema]}]}

    async def apply(self, role: str, **spec: Any) -> None:
        """Make one of the roles true."""
        password = {"password": {"name": "password"}}
        await self.make(
            "DatabaseRole", role, roleName=self.names[role], **password, **spec
        )

    async def make(self, kind: Any, name: str, /, **spec: Any) -> None:
        """Make an object true, and find nothing to do afterwards."""
        key = self.stage.put(kind, name, {**MAIN, **spec}, namespace="shop")
        reason, message, _ = await self.stage.reconcile(key)
        assert reason == "Reconciled", message
        obj = self.stage.cache.get(key)
        assert obj is not None
        draft = await plan_object(self.stage.context, key, obj)
        assert (draft.statements, draft.pending) == ((), ())

    async def follow(self, declared: Declared) -> None:
        """Have the role declare that, after what somebody granted it by hand."""
        await self.bed.execute(
            *(
                text.format(database=self.database, **self.names)
                for text in declared.by_hand or ()
            ),
            database=self.database,
        )
        await self.apply(
            "role", **declared.spec(database=self.database, group=self.names["group"])
        )

    @contextlib.asynccontextmanager
    async def later(self) -> Any:
        """Have the maker make something, and take it away again."""
        async with self.bed.login(self.names["maker"], self.database) as connection:
            await connection.execute(sql.SQL(MAKE))
            try:
                yield
            finally:
                await connection.execute(sql.SQL(UNMAKE))


async def can(connection: psycopg.AsyncConnection[Any], statement: str) -> bool:
    """Tell whether a statement is allowed; it leaves nothing behind."""
    warned: list[str | None] = []
    connection.add_notice_handler(lambda notice: warned.append(notice.sqlstate))
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(sql.SQL(statement))
    except psycopg.errors.InsufficientPrivilege:
        return False
    # A GRANT of what one may not pass on says no more than that.
    return "01007" not in warned


@pytest.fixture
async def scene(stage: Stage, bed: Bed) -> Scene:
    scene = Scene(stage, bed)
    await scene.prepare()
    return scene


async def check(scene: Scene, declared: Declared) -> None:
    """Apply one more declaration, and try all that it may allow or not."""
    await scene.follow(declared)
    login = scene.bed.login(scene.names["role"], scene.database)
    if "CONNECT" not in expanded("database", declared.database["privileges"]):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            await login.__aenter__()
        return
    version = scene.bed.server.version_number
    async with scene.later(), login as connection:
        expected = dict(declared.may(version))
        assert {each: await can(connection, each) for each in expected} == expected
        everywhere, here = declared.parameters
        cursor = await connection.execute("SHOW work_mem")
        assert await cursor.fetchone() == (here or everywhere or DEFAULT_WORK_MEM,)


trials = settings(
    deadline=None,
    derandomize=True,
    database=None,
    # What was declared before counts as well: a smaller example would be another case.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(trials, max_examples=15)
@given(declared=declarations)
async def test_role_can_do_what_it_declares_and_nothing_else(
    scene: Scene, declared: Declared
) -> None:
    """One declaration follows the other, on the same server and role."""
    await check(scene, declared)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(trials, max_examples=300)
@given(declared=declarations)
async def test_role_can_do_what_it_declares_and_nothing_else_each_of_many_times(
    scene: Scene, declared: Declared
) -> None:
    await check(scene, declared)
