"""How often a reconcile asks the server, counted in the server's log."""

import re
from typing import Any

import pytest

from pg_operator.api.specs import Kind
from pg_operator.postgres import connect
from pg_operator.reconcilers.glance import Glances
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reconcile import Reconcilers
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage
from tests.localcluster.postgres import PostgresServer

MAIN_CLUSTER = Key("DatabaseCluster", "", "main")
STATEMENT = re.compile(r"LOG:  (statement|execute [^:]*): ")


async def statements_of(
    stage: Stage, server: PostgresServer, kind: Kind, name: str, /, **spec: Any
) -> int:
    """Make an object true, and return the statements of a look that finds it so."""
    key = stage.put(kind, name, {**MAIN, **spec}, namespace="shop")
    for _ in range(2):
        begin = server.log.stat().st_size
        reason, message, _ = await stage.reconcile(key)
        assert reason == "Reconciled", message
    return logged_since(server, begin)


def logged_since(server: PostgresServer, begin: int) -> int:
    """Return how many statements the server's log has from an offset on."""
    said = server.log.read_bytes()[begin:].decode(errors="replace")
    return len(STATEMENT.findall(said))


@pytest.fixture(autouse=True)
def _never_idle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no connection asked whether it lives, however slow the machine is."""
    monkeypatch.setattr(connect, "JUST_NOW", 600)


@pytest.fixture
async def roles(stage: Stage, bed: Bed, server: PostgresServer) -> list[str]:
    names = [bed.name(f"role{number}") for number in range(4)]
    for name in names:
        await statements_of(stage, server, "DatabaseRole", name, roleName=name)
    return names


async def test_groups_of_a_role_are_looked_at_together(
    stage: Stage, bed: Bed, server: PostgresServer, roles: list[str]
) -> None:
    async def with_groups(*groups: str) -> int:
        entries = [{"role": group} for group in groups]
        name = bed.name("member")
        return await statements_of(
            stage, server, "DatabaseRole", name, roleName=name, memberOf=entries
        )

    assert await with_groups(*roles) == await with_groups(roles[0])


async def test_roles_that_a_database_names_are_looked_at_together(
    stage: Stage, bed: Bed, server: PostgresServer, roles: list[str]
) -> None:
    async def with_roles(owner: str, schema_owner: str, *creators: str) -> int:
        schema = {"name": "app", "owner": schema_owner, "creators": [*creators]}
        name = bed.name("db")
        return await statements_of(
            stage, server, "Database", name, name=name, owner=owner, schemas=[schema]
        )

    one = await with_roles(roles[0], roles[0], roles[0])
    assert await with_roles(*roles) == one


async def test_roles_are_glanced_at_together(
    stage: Stage, bed: Bed, server: PostgresServer, roles: list[str]
) -> None:
    stage.say_ready(MAIN_CLUSTER, is_ready=True, reason="Connected")
    keys = [Key("DatabaseRole", "shop", name) for name in roles]
    for key in keys:
        reason, _, outcome = await stage.reconcile(key)
        stage.say_ready(key, is_ready=True, reason=reason, status=outcome.status)

    async def glance_at(*keys: Key) -> int:
        glances = Glances(keys)
        begin = server.log.stat().st_size
        for key in keys:
            glances.take(key)
            outcome = await Reconcilers(stage.context, stage.settings).reconcile(
                key, glances=glances
            )
            assert outcome.is_settled
        return logged_since(server, begin)

    assert await glance_at(*keys) == await glance_at(keys[0]) > 0
