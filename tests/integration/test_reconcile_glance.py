"""Nobody enters a database for what was settled; what differs is seen."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pg_operator.reconcilers.glance import Glances
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.reconcile import Reconcilers
from pg_operator.reconcilers.survey import LONGEST_OF_MANY
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage

PASSWORD = "canary-glance-before"
LONG = "x" * (LONGEST_OF_MANY + 1)
NEW_PASSWORD = "canary-glance-after"


@dataclass(frozen=True, slots=True)
class Scene:
    """A Database, and a role of a group that works in it, all of them Ready."""

    stage: Stage
    bed: Bed
    database: Key
    group: Key
    role: Key

    @property
    def shop(self) -> str:
        """The database on the server."""
        return self.bed.name("shop")

    @property
    def app(self) -> str:
        """The role on the server."""
        return self.bed.name("app")

    @property
    def cluster(self) -> Object:
        """The DatabaseCluster as it is stored."""
        cluster = self.stage.cache.get(Key("DatabaseCluster", "", "main"))
        assert cluster is not None
        return cluster

    async def glance(self, key: Key) -> bool:
        """Tell whether a start would find an object as it was left, and no more."""
        reconcilers = Reconcilers(self.stage.context, self.stage.settings)
        keys = (self.database, self.group, self.role)
        outcome = await reconcilers.reconcile(key, glances=Glances(keys))
        if outcome.is_settled:
            assert outcome == type(outcome)(is_settled=True)
        return outcome.is_settled

    async def has_schema_privileges(self) -> bool:
        """Tell whether the role holds what it was granted inside of the database."""
        return bool(await self.bed.grants(self.app, database=self.shop))

    def spec(self, key: Key, **more: Any) -> None:
        """Declare something else."""
        obj = self.stage.cache.get(key)
        assert obj is not None
        status = obj["status"]
        spec = {**obj["spec"], **more}
        self.stage.put(key.kind, key.name, spec, namespace=key.namespace, status=status)


async def settle(stage: Stage, key: Key) -> None:
    """Reconcile an object, and store what came of it as the runtime does."""
    reason, message, outcome = await stage.reconcile(key)
    assert reason == "Reconciled", message
    stage.say_ready(key, is_ready=True, reason=reason, status=outcome.status)


@pytest.fixture
async def scene(stage: Stage, bed: Bed) -> Scene:
    stage.secrets["shop", "app"] = {"password": PASSWORD.encode()}
    cluster = Key("DatabaseCluster", "", "main")
    stage.say_ready(cluster, is_ready=True, reason="Connected")
    spec: Mapping[str, Any] = {"name": bed.name("shop"), "schema": "app", **MAIN}
    database = stage.put("Database", "shop", dict(spec), namespace="shop")
    spec = {"roleName": bed.name("group"), **MAIN}
    group = stage.put("DatabaseRole", "group", dict(spec), namespace="shop")
    schema = {"name": "app", "privileges": ["USAGE"]}
    spec = {
        "roleName": bed.name("app"),
        "connectionLimit": 5,
        "password": {"name": "app", "key": "password"},
        "memberOf": [{"role": bed.name("group")}],
        "permissions": [
            {
                "database": bed.name("shop"),
                "privileges": ["CONNECT"],
                "schemas": [schema],
            }
        ],
        **MAIN,
    }
    role = stage.put("DatabaseRole", "app", dict(spec), namespace="shop")
    for key in (database, group, role):
        await settle(stage, key)
    return Scene(stage, bed, database, group, role)


async def test_glance_finds_what_is_as_it_was_left(scene: Scene) -> None:
    for key in (scene.database, scene.group, scene.role):
        assert await scene.glance(key)


async def test_glance_leaves_what_is_inside_to_the_resync(scene: Scene) -> None:
    revoke = f'REVOKE USAGE ON SCHEMA app FROM "{scene.app}"'
    await scene.bed.execute(revoke, database=scene.shop)
    assert await scene.glance(scene.role)
    assert not await scene.has_schema_privileges()
    await scene.stage.reconcile(scene.role)
    assert await scene.has_schema_privileges()


async def test_glance_goes_by_the_rules_that_were_not_probed_yet(scene: Scene) -> None:
    spec = {"connection": {"name": "dsn"}, "allowedMemberships": ["crew"]}
    scene.stage.put("DatabaseCluster", "main", spec)
    for key in (scene.database, scene.group, scene.role):
        assert await scene.glance(key)


async def test_next_round_of_glances_sees_what_is_there_by_then(scene: Scene) -> None:
    reconcilers = Reconcilers(scene.stage.context, scene.stage.settings)
    glances = Glances([scene.role, scene.database])
    assert (await reconcilers.reconcile(scene.role, glances=glances)).is_settled
    await by_hand("GRANT CONNECT ON DATABASE {shop} TO PUBLIC")(scene)
    glances.add(scene.role)
    assert not (await reconcilers.reconcile(scene.database, glances=glances)).is_settled


async def test_glance_sees_where_an_exact_role_was_granted_something(
    scene: Scene,
) -> None:
    scene.spec(scene.role, grantsPolicy="Exact")
    await settle(scene.stage, scene.role)
    assert await scene.glance(scene.role)
    other = scene.bed.name("other")
    await scene.bed.create_database(other)
    for statement in (
        "CREATE SCHEMA app",
        f'GRANT USAGE ON SCHEMA app TO "{scene.app}"',
    ):
        await scene.bed.execute(statement, database=other)
    assert not await scene.glance(scene.role)


async def test_glance_keeps_no_session_where_only_a_few_are_allowed(
    scene: Scene,
) -> None:
    scene.spec(scene.database, connectionLimit=3)
    await settle(scene.stage, scene.database)
    await scene.stage.context.servers.close()
    assert await scene.glance(scene.database)
    await scene.stage.reconcile(scene.role)
    connections = (await scene.stage.context.servers.link(scene.cluster)).connections
    async with connections.session() as connection:
        query = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
        cursor = await connection.execute(query, [scene.shop])
        assert await cursor.fetchone() == (0,)


Change = Callable[[Scene], Awaitable[object]]


def by_hand(statement: str) -> Change:
    """Run a statement, with `{shop}`, `{app}` and `{group}` in it."""

    async def run(scene: Scene) -> None:
        names = {name: f'"{scene.bed.name(name)}"' for name in ("shop", "app", "group")}
        await scene.bed.execute(statement.format(**names))

    return run


async def new_password(scene: Scene) -> None:
    scene.stage.secrets["shop", "app"] = {"password": NEW_PASSWORD.encode()}


async def another_spec(scene: Scene) -> None:
    scene.spec(scene.role, connectionLimit=7)


async def no_schema(scene: Scene) -> None:
    spec = {"name": scene.shop, **MAIN}
    scene.stage.put("Database", "shop", spec, namespace="shop")


async def shut_out(scene: Scene) -> None:
    nobody = {"from": "Names", "names": ["nobody"]}
    spec = {"connection": {"name": "dsn"}, "allowedNamespaces": nobody}
    key = scene.stage.put("DatabaseCluster", "main", spec)
    scene.stage.say_ready(key, is_ready=True, reason="Connected")


async def owns_a_schema(scene: Scene) -> None:
    """Its status tells what a deletion would do, which is another thing now."""
    create = f'CREATE SCHEMA its_own AUTHORIZATION "{scene.app}"'
    await scene.bed.execute(create, database=scene.shop)


async def pending(scene: Scene) -> None:
    scene.stage.say_ready(scene.role, is_ready=False, reason="PartiallyApplied")


async def was_paused(scene: Scene) -> None:
    scene.stage.say_ready(scene.role, is_ready=True, reason="Paused")


async def going(scene: Scene) -> None:
    scene.stage.delete(scene.role)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(by_hand("ALTER ROLE {app} CONNECTION LIMIT 3"), id="limit"),
        pytest.param(by_hand("REVOKE {group} FROM {app}"), id="membership"),
        pytest.param(
            by_hand("REVOKE ALL ON DATABASE {shop} FROM {app}"), id="on-the-database"
        ),
        pytest.param(by_hand("COMMENT ON ROLE {app} IS 'mine'"), id="mark"),
        pytest.param(by_hand(f"COMMENT ON ROLE {{app}} IS '{LONG}'"), id="long"),
        pytest.param(new_password, id="password"),
        pytest.param(another_spec, id="spec"),
        pytest.param(no_schema, id="schema-of-the-database"),
        pytest.param(shut_out, id="namespace"),
        pytest.param(owns_a_schema, id="owns-a-schema"),
        pytest.param(pending, id="not-ready"),
        pytest.param(was_paused, id="was-paused"),
        pytest.param(going, id="deletion"),
    ],
)
async def test_glance_sees_a_difference_of_a_role_and_all_is_looked_at(
    scene: Scene, change: Change
) -> None:
    await change(scene)
    assert not await scene.glance(scene.role)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            by_hand("GRANT CONNECT ON DATABASE {shop} TO PUBLIC"), id="public"
        ),
        pytest.param(by_hand("COMMENT ON DATABASE {shop} IS 'mine'"), id="mark"),
        pytest.param(by_hand(f"COMMENT ON DATABASE {{shop}} IS '{LONG}'"), id="long"),
        pytest.param(no_schema, id="spec"),
        pytest.param(shut_out, id="namespace"),
    ],
)
async def test_glance_sees_a_difference_of_a_database_and_all_is_looked_at(
    scene: Scene, change: Change
) -> None:
    await change(scene)
    assert not await scene.glance(scene.database)
