"""Whatever step a controller dies after, the next one ends where it would have ended.

A step is a statement or a call of the API. In the normal tier each flow is cut off
after a few of them that write, in the slow one after every single one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest

from tests.integration.crash_bed import Life
from tests.integration.crash_scene import NAMESPACE, Scene
from tests.localcluster.postgres import ADMIN, PostgresServer

SAMPLES: Final = 4
READS: Final = ("GET", "SELECT", "SET ")
SLOW: Final = (pytest.mark.slow, pytest.mark.timeout(1800))

Change = Callable[[Scene], Awaitable[None]]


async def declare(scene: Scene) -> None:
    """Apply a database with a group, and two logins in it."""
    orders = scene.name("orders")
    scene.database(
        "orders",
        schemas=[{"name": "app"}, {"name": "audit"}],
        timezone="Europe/Paris",
        parameters={"work_mem": "8MB"},
        extensions=[{"name": "pg_trgm", "schema": "app"}],
        connectionLimit=20,
        databaseServiceName="orders",
        deletionPolicy="Delete",
    )
    scene.role("readers", parameters={"work_mem": "16MB"}, deletionPolicy="Delete")
    app = {"name": "app", "privileges": ["USAGE", "CREATE"]}
    tables = [{"name": "*", "privileges": ["SELECT", "INSERT"]}]
    scene.role(
        "app",
        generatePassword=True,
        connectionSecret={"name": "app", "database": orders},
        connectionLimit=5,
        memberOf=[{"role": scene.name("readers")}],
        permissions=[
            {
                "database": orders,
                "privileges": ["CONNECT", "TEMPORARY"],
                "schemas": [{**app, "tables": tables}],
            }
        ],
        deletionPolicy="Delete",
    )
    scene.secret("reporter-password", password="the old one")
    scene.role(
        "reporter",
        password={"name": "reporter-password"},
        connectionSecret={"name": "reporter"},
        permissions=[{"database": orders, "privileges": ["CONNECT"]}],
        deletionPolicy="Disable",
    )


async def change(scene: Scene) -> None:
    """Apply other specs: more of this, and less of that."""
    orders = scene.name("orders")
    scene.database(
        "orders",
        schemas=[{"name": "app"}, {"name": "extra"}],
        parameters={"maintenance_work_mem": "16MB"},
        connectionLimit=10,
        databaseServiceName="orders-renamed",
        deletionPolicy="Delete",
    )
    scene.role("readers", connectionLimit=1, deletionPolicy="Delete")
    tables = [{"name": "*", "privileges": ["SELECT", "UPDATE"]}]
    scene.role(
        "app",
        generatePassword=True,
        connectionSecret={"name": "app-renamed", "database": orders},
        permissions=[
            {
                "database": orders,
                "privileges": ["CONNECT"],
                "parameters": {"work_mem": "4MB"},
                "schemas": [
                    {"name": "extra", "privileges": ["USAGE"], "tables": tables}
                ],
            }
        ],
        deletionPolicy="Delete",
    )


async def rotate(scene: Scene) -> None:
    """Have new passwords: a generated one, and one that its author writes."""
    obj = scene.stored("DatabaseRole", "app")
    scene.role("app", rotate="once", **obj["spec"])
    scene.secret("reporter-password", password="the new one")


async def make_by_hand(scene: Scene) -> None:
    """Create what somebody had before the operator came."""
    old = scene.name("old")
    await scene.execute(
        f"CREATE ROLE {old} LOGIN CONNECTION LIMIT 3 PASSWORD 'theirs'",
        f"GRANT {old} TO {ADMIN} WITH ADMIN OPTION",
        f"CREATE DATABASE {old} OWNER {ADMIN}",
        f"COMMENT ON DATABASE {old} IS 'theirs'",
        f"COMMENT ON ROLE {old} IS 'theirs'",
    )


async def adopt(scene: Scene) -> None:
    """Take over what somebody had."""
    old = scene.name("old")
    listed = [{"name": old, "namespace": NAMESPACE}]
    scene.cluster(adoption={"policy": "Listed", "databases": listed, "roles": listed})
    scene.database("old", adopt=True, schema="app", connectionLimit=7)
    scene.role(
        "old",
        adopt=True,
        generatePassword=True,
        connectionSecret={"name": "old"},
        permissions=[
            {
                "database": old,
                "privileges": ["CONNECT"],
                "schemas": [{"name": "app", "privileges": ["ALL"]}],
            }
        ],
    )


async def declare_kept(scene: Scene) -> None:
    """Apply another database, which stays when it is deleted."""
    await declare(scene)
    scene.database("kept", schema="app")


async def delete(scene: Scene) -> None:
    """Delete everything; a role that goes owns something in what stays."""
    await scene.execute(
        "CREATE TABLE app.t (id int)",
        f"ALTER TABLE app.t OWNER TO {scene.name('app')}",
        f"GRANT SELECT ON app.t TO {scene.name('reporter')}",
        database=scene.name("kept"),
    )
    scene.delete("Database", "orders", "kept")
    scene.delete("DatabaseRole", "app", "reporter", "readers")


# The last change of each is the one in which the controller dies.
FLOWS: Final[dict[str, tuple[Change, ...]]] = {
    "create": (declare,),
    "change": (declare, change),
    "rotate": (declare, rotate),
    "adopt": (make_by_hand, adopt),
    "delete": (declare_kept, delete),
}


async def play(
    server: PostgresServer, flow: str, *, last: int | None = None
) -> tuple[set[str], Life]:
    """Return how a flow ends when the controller dies after a step, and that life."""
    scene = Scene(server)
    *before, change = FLOWS[flow]
    try:
        for prelude in before:
            await prelude(scene)
            await scene.lives.live()
        await change(scene)
        life = await scene.lives.live(last=last)
        if life.is_over:
            await scene.lives.live()
        return await scene.end_state(), life
    finally:
        await scene.clear()


def moments(steps: Sequence[str], *, is_slow: bool) -> Sequence[int]:
    """Choose the steps after which to die: all, or a few that write."""
    if is_slow:
        return range(1, len(steps))
    writes = [n for n, step in enumerate(steps, 1) if not step.startswith(READS)]
    return writes[:-1][:: len(writes) // SAMPLES]


@pytest.mark.parametrize(
    "is_slow", [False, pytest.param(True, marks=SLOW)], ids=["some", "every"]
)
@pytest.mark.parametrize("flow", FLOWS)
async def test_flow_ends_the_same_after_a_crash_at_any_step(
    server: PostgresServer, flow: str, *, is_slow: bool
) -> None:
    undisturbed, whole = await play(server, flow)
    differences = []
    kills = moments(whole.steps, is_slow=is_slow)
    for last in kills:
        state, life = await play(server, flow, last=last)
        assert life.is_over
        if state != undisturbed:
            # All of them are told at the end: a whole run takes its time.
            differences.append((life.steps[-3:], sorted(state ^ undisturbed)))
    print(f"{flow}: {len(kills)} kills, {len(differences)} differences")  # noqa: T201
    assert differences == []
