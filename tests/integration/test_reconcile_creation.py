"""What a database is made from: nothing that its tenant may not copy or use."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pg_operator.plan.state import Locale
from tests.integration.postgres_bed import Bed, open_bed
from tests.integration.reconcile_bed import MAIN, Stage, on_stage
from tests.localcluster.postgres import PostgresServer


@pytest.fixture
async def stage(server: PostgresServer) -> AsyncIterator[Stage]:
    """The login may do everything, so that only the operator refuses."""
    async with on_stage(server.superuser_dsn) as stage:
        yield stage


@pytest.fixture
async def bed(server: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(server.superuser_dsn) as bed:
        yield bed


async def reconcile(
    stage: Stage, bed: Bed, suffix: str, *, namespace: str = "shop", **spec: Any
) -> tuple[str, str]:
    wanted = {"name": bed.name(suffix), **MAIN, **spec}
    key = stage.put("Database", suffix, wanted, namespace=namespace)
    reason, message, _ = await stage.reconcile(key)
    return reason, message


async def test_tenant_copies_its_own_database_and_no_other(
    stage: Stage, bed: Bed
) -> None:
    await reconcile(stage, bed, "secrets", schema="app")
    original = bed.name("secrets")
    await bed.execute("CREATE TABLE app.t (id int)", database=original)
    await bed.connections.close_idle(older_than=0)

    thief = {"namespace": "crm", "template": original}
    reason, message = await reconcile(stage, bed, "loot", **thief)
    assert (reason, "no Database of this namespace" in message) == ("NotAllowed", True)
    # Asking for its name, too, gives nobody the database.
    rival = {"name": original, **MAIN}
    stage.put("Database", "rival", rival, namespace="crm")
    assert (await reconcile(stage, bed, "loot", **thief))[0] == "DatabaseNotReady"
    assert not (await bed.database(bed.name("loot"))).exists

    assert (await reconcile(stage, bed, "copy", template=original))[0] == "Reconciled"
    async with bed.connections.session(bed.name("copy")) as connection:
        cursor = await connection.execute("SELECT count(*) FROM app.t")
        assert await cursor.fetchone() == (0,)
    state = await bed.database(bed.name("copy"))
    assert state.public_privileges == frozenset()


async def test_tenant_uses_a_tablespace_only_when_it_is_listed(
    stage: Stage, bed: Bed
) -> None:
    reason, message = await reconcile(stage, bed, "db", tablespace="pg_default")
    assert (reason, "spec.allowedTablespaces" in message) == ("NotAllowed", True)
    assert not (await bed.database(bed.name("db"))).exists
    spec = {"connection": {"name": "dsn"}, "allowedTablespaces": ["pg_default"]}
    stage.put("DatabaseCluster", "main", spec)
    reason, _ = await reconcile(stage, bed, "db", tablespace="pg_default")
    assert reason == "Reconciled"
    assert (await bed.database(bed.name("db"))).tablespace == "pg_default"


async def test_locale_is_chosen_at_creation_and_a_difference_is_told(
    stage: Stage, bed: Bed
) -> None:
    made = {"localeProvider": "libc", "locale": "C"}
    if bed.server.version_number < 150000:
        del made["localeProvider"]
    assert (await reconcile(stage, bed, "db", **made))[0] == "Reconciled"
    assert (await bed.database(bed.name("db"))).locale == Locale("libc", "C")
    reason, message = await reconcile(stage, bed, "db", locale="POSIX")
    assert reason == "Immutable"
    assert "set spec.locale to C" in message
