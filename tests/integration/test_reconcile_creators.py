"""Who stops creating in a schema is told, and others lose what waited for it."""

from typing import Any

import pytest

from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage

CREATORS = "SELECT defaclrole::regrole::text FROM pg_default_acl"
ALL_TABLES = {"name": "app", "tables": [{"name": "*", "privileges": ["SELECT"]}]}


class Scene:
    """A database, a group that creates in it, and who may read what is created."""

    def __init__(self, stage: Stage, bed: Bed) -> None:
        self.stage = stage
        self.bed = bed
        self.database = bed.name("db")

    async def apply(self, role: str, **spec: Any) -> tuple[set[str], set[str]]:
        """Make a role true; return the databases where, and groups by which, it stops.

        Stops creating, that is.
        """
        assert await self.reconcile(role, **spec) == "Reconciled"
        return self.stage.stopped

    async def reconcile(self, role: str, **spec: Any) -> str:
        """Reconcile a role, and return the reason of its Ready condition."""
        document = {**MAIN, "roleName": self.bed.name(role), **spec}
        key = self.stage.put("DatabaseRole", role, document, namespace="shop")
        return (await self.stage.reconcile(key))[0]

    def permitted(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a spec with one permission."""
        return {"permissions": [{"database": self.database, "schemas": [schema]}]}

    async def creators(self) -> set[str]:
        """Apply the reader, and return for whose objects it has default privileges."""
        await self.apply("reader", **self.permitted(ALL_TABLES))
        async with self.bed.connections.session(self.database) as connection:
            cursor = await connection.execute(CREATORS)
            return {name for (name,) in await cursor.fetchall()}


@pytest.fixture
async def scene(stage: Stage, bed: Bed) -> Scene:
    scene = Scene(stage, bed)
    spec = {**MAIN, "name": scene.database, "schemas": [{"name": "app"}]}
    database = stage.put("Database", "db", spec, namespace="shop")
    assert (await stage.reconcile(database))[0] == "Reconciled"
    creating = {"name": "app", "privileges": ["USAGE", "CREATE"]}
    await scene.apply("group", login=False, **scene.permitted(creating))
    return scene


@pytest.mark.parametrize("is_kept", [True, False])
async def test_role_that_loses_create_says_in_which_database(
    scene: Scene, bed: Bed, *, is_kept: bool
) -> None:
    group = bed.name("group")
    assert group in await scene.creators()
    using = {"name": "app", "privileges": ["USAGE"]}
    left = scene.permitted(using) if is_kept else {}
    stopped = await scene.apply("group", login=False, **left)
    assert stopped == ({scene.database}, set())
    assert group not in await scene.creators()


async def test_role_that_leaves_a_group_says_which(scene: Scene, bed: Bed) -> None:
    group, member = bed.name("group"), bed.name("member")
    await scene.apply("member", memberOf=[{"role": group}])
    assert await scene.creators() >= {group, member}
    if bed.server.version_number >= 160000:
        kept = [{"role": group, "inherit": False}]
        stopped = await scene.apply("member", memberOf=kept)
        assert stopped == (set(), {group})
        assert member not in await scene.creators()
        await scene.apply("member", memberOf=[{"role": group}])
        assert member in await scene.creators()
    stopped = await scene.apply("member")
    assert stopped == (set(), {group})
    assert member not in await scene.creators()
    assert group in await scene.creators()


async def test_role_that_creates_as_before_says_nothing(scene: Scene, bed: Bed) -> None:
    group = bed.name("group")
    joined = {"memberOf": [{"role": group}]}
    for _ in range(2):
        stopped = await scene.apply("member", **joined)
        assert stopped == (set(), set())
    using = scene.permitted({"name": "app", "privileges": ["USAGE"]})
    for spec in ({**joined, **using}, joined):
        stopped = await scene.apply("member", **spec)
        assert stopped == (set(), set())


async def test_role_that_loses_create_says_so_also_when_it_fails_elsewhere(
    scene: Scene, bed: Bed
) -> None:
    group, other = bed.name("group"), bed.name("other")
    listed = {**MAIN, "name": other, "schemas": [{"name": "app"}]}
    database = scene.stage.put("Database", "other", listed, namespace="shop")
    assert (await scene.stage.reconcile(database))[0] == "Reconciled"
    await bed.execute("CREATE TABLE app.orders ()", database=other)
    creating = scene.permitted({"name": "app", "privileges": ["USAGE", "CREATE"]})
    tables = [{"name": "orders", "privileges": ["SELECT"]}]
    reading = {"database": other, "schemas": [{"name": "app", "tables": tables}]}
    wanted = [*creating["permissions"], reading]
    await scene.apply("group", login=False, permissions=wanted)
    assert group in await scene.creators()
    async with bed.connections.session(other) as connection, connection.transaction():
        await connection.execute("LOCK TABLE app.orders IN ACCESS EXCLUSIVE MODE")
        assert await scene.reconcile("group", login=False) == "ServerBusy"
    assert scene.stage.stopped == ({scene.database}, set())
    assert group not in await scene.creators()
