"""What somebody drops or changes by hand is woken by the next sweep, and mended."""

from datetime import timedelta
from typing import Any

import pytest

from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.sweep import Sweeps
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage
from tests.localcluster.postgres import PostgresServer


class Swept:
    """A stage whose server is swept, and whose objects say that they are Ready."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.woken: set[Key] = set()
        self._sweeps = Sweeps(
            stage.cache,
            wake=self.woken.add,
            interval=timedelta(minutes=1),
            jitter=lambda: 1.0,
        )

    async def make(self, kind: Kind, name: str, /, **spec: Any) -> Key:
        """Make an object true, and have its status say so."""
        key = self.stage.put(kind, name, {**spec, **MAIN}, namespace="shop")
        assert await self.mend(key)
        obj = self.stage.cache.get(key)
        assert obj is not None
        status = {
            "observedGeneration": obj["metadata"]["generation"] + 1,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        return self.stage.put(
            kind, name, {**spec, **MAIN}, namespace="shop", status=status
        )

    async def mend(self, key: Key) -> bool:
        """Reconcile an object."""
        return (await self.stage.reconcile(key))[0] == "Reconciled"

    async def sweep(self) -> set[Key]:
        """Return the keys that a sweep wakes."""
        self.woken.clear()
        link = self.stage.context.servers.links()["main"]
        await self._sweeps.sweep("main", link.connections)
        return set(self.woken)


@pytest.fixture
def swept(stage: Stage) -> Swept:
    return Swept(stage)


async def test_sweep_finds_what_was_changed_by_hand_and_nothing_else(
    swept: Swept, bed: Bed, server: PostgresServer
) -> None:
    database = await swept.make(
        "Database", "shop", name=bed.name("db"), schemas=[{"name": "app"}]
    )
    group = await swept.make("DatabaseRole", "group", roleName=bed.name("group"))
    member = await swept.make(
        "DatabaseRole",
        "member",
        roleName=bed.name("member"),
        memberOf=[{"role": bed.name("group")}],
    )
    gone = await swept.make("DatabaseRole", "gone", roleName=bed.name("gone"))
    assert await swept.sweep() == set()
    assert await swept.sweep() == set()

    await bed.execute(f"REVOKE {bed.name('group')} FROM {bed.name('member')}")
    await run_as_superuser(server.superuser_dsn, f"DROP ROLE {bed.name('gone')}")
    await run_as_superuser(
        server.superuser_dsn, "DROP SCHEMA app", database=bed.name("db")
    )
    assert await swept.sweep() == {database, member, gone}

    for key in (database, member, gone):
        assert await swept.mend(key)
    assert (await bed.role(bed.name("gone"))).exists
    # What we changed ourselves is looked at once more, what we made is not.
    assert await swept.sweep() == {database, member}
    assert await swept.sweep() == set()
    assert group not in swept.woken


async def test_role_that_is_dropped_before_it_was_ever_seen_is_woken(
    swept: Swept, bed: Bed, server: PostgresServer
) -> None:
    await swept.make("DatabaseRole", "kept", roleName=bed.name("kept"))
    await swept.sweep()
    gone = await swept.make("DatabaseRole", "gone", roleName=bed.name("gone"))
    await run_as_superuser(server.superuser_dsn, f"DROP ROLE {bed.name('gone')}")
    assert await swept.sweep() == {gone}
