"""`pg-operator plan`: exactly what applying would do, and not one write."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from pg_operator.api.specs import API_VERSION, PLURALS, Kind
from pg_operator.cli.documents import read_documents
from pg_operator.cli.main import main
from pg_operator.cli.read_only import ReadOnly
from pg_operator.cli.world import world_of_cluster
from pg_operator.kube.client import core_path, object_path
from pg_operator.kube.errors import NotLeading
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import ServerRefused
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.foresight import Foresight
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.planning import foresee, plan_object
from tests.cluster.objects import database, database_role, documents, password_secret
from tests.integration.postgres_bed import Bed, open_bed, running_server
from tests.integration.reconcile_bed import MAIN, OPERATOR, Stage, on_stage
from tests.localcluster.postgres import PostgresOptions, PostgresServer

# Autovacuum takes transaction ids, too.
SETTINGS = {"autovacuum": "off"}
WRITING = re.compile(
    "CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|REASSIGN|SELECT pg_catalog.pg_terminate"
)
NEW_PASSWORD = "ein neues Passwort"


@pytest.fixture(scope="module")
def quiet() -> Iterator[PostgresServer]:
    """A server on which nobody but the test does anything."""
    with running_server(PostgresOptions(settings=SETTINGS)) as server:
        yield server


@pytest.fixture
async def bed(quiet: PostgresServer) -> AsyncIterator[Bed]:
    async with open_bed(quiet.superuser_dsn) as bed:
        yield bed


@pytest.fixture
async def stage(quiet: PostgresServer) -> AsyncIterator[Stage]:
    async with on_stage(quiet.admin_dsn) as stage:
        yield stage


async def plan(dsn: str, *objects: dict[str, Any]) -> Result:
    """Plan objects as one does in a shell."""
    return await asyncio.to_thread(
        CliRunner().invoke,
        main,
        ["plan", "-f", "-"],
        input=documents(*objects),
        env={"PGOP_ADMIN_DSN": dsn},
    )


async def next_transaction_id(bed: Bed) -> int:
    query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    async with bed.connections.session() as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


def called(name: str) -> str:
    """Return what an object is called whose name on the server is this one."""
    return name.replace("_", "-")


def shop(bed: Bed, **role: Any) -> list[dict[str, Any]]:
    """A Database and a role that may read in it."""
    name = bed.name("shop")
    app = {"name": "app", "privileges": ["USAGE"]}
    permission = {"database": name, "privileges": ["CONNECT"], "schemas": [app]}
    return [
        database(called(name), "main", schema="app", timezone="UTC"),
        database_role(
            called(bed.name("reader")), "main", permissions=[permission], **role
        ),
    ]


async def test_plan_shows_all_of_a_new_database_and_writes_nothing(bed: Bed) -> None:
    objects = shop(bed, password={"name": "reader"})
    secret = password_secret("reader", NEW_PASSWORD)
    name, reader = bed.name("shop"), bed.name("reader")
    before = await next_transaction_id(bed)

    result = await plan(bed.dsn, *objects, secret)

    assert await next_transaction_id(bed) == before
    assert result.exit_code == 2
    for statement in (
        f'CREATE DATABASE "{name}" TEMPLATE "template0"',
        f"COMMENT ON DATABASE \"{name}\" IS '<mark>';",
        f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC;',
        f'--   in database {name}\nCREATE SCHEMA "app";',
        f"CREATE ROLE \"{reader}\" LOGIN PASSWORD '<redacted>';",
        f'GRANT CONNECT ON DATABASE "{name}" TO "{reader}";',
        f'--   in database {name}\nGRANT USAGE ON SCHEMA "app" TO "{reader}";',
    ):
        assert statement in result.output
    assert "pending" not in result.output
    for hidden in (NEW_PASSWORD, "SCRAM-SHA-256", bed.dsn):
        assert hidden not in result.output
    assert not (await bed.database(name)).exists
    assert not (await bed.role(reader)).exists


async def test_session_of_a_plan_cannot_write(bed: Bed) -> None:
    """Whatever a plan comes to send one day."""
    async with open_bed(bed.dsn, read_only=True) as reading:
        with pytest.raises(ServerRefused, match="read-only"):
            await reading.execute("CREATE SCHEMA forbidden")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What servers are sent that writes, with words where secrets are."""
    sent: list[str] = []
    usual = Connection.execute

    async def execute(self: Connection, query: Any, *rest: Any, **options: Any) -> Any:
        text = query.as_string() if isinstance(query, sql.Composable) else str(query)
        text = re.sub("^SAVEPOINT apart; |; RELEASE SAVEPOINT apart$", "", text)
        if WRITING.match(text):
            text = re.sub("SCRAM-SHA-256[^']*", "<redacted>", text)
            sent.append(re.sub("managed by pg-operator[^']*", "<mark>", text))
        return await usual(self, query, *rest, **options)

    monkeypatch.setattr(Connection, "execute", execute)
    return sent


def stored(stage: Stage, key: Key) -> Object:
    obj = stage.cache.get(key)
    assert obj is not None
    return obj


async def drafted(
    stage: Stage, key: Key, *, context: Context | None = None
) -> list[str]:
    draft = await plan_object(context or stage.context, key, stored(stage, key))
    return [statement.sql for statement in draft.statements]


async def test_what_was_planned_is_done_and_then_there_is_nothing_to_do(
    bed: Bed, stage: Stage, sent: list[str]
) -> None:
    db, role = shop(bed, password={"name": "reader"}, connectionLimit=3)
    stage.secrets["shop", "reader"] = {"password": NEW_PASSWORD.encode()}
    keys = [
        stage.put("Database", "shop", db["spec"], namespace="shop"),
        stage.put("DatabaseRole", "reader", role["spec"], namespace="shop"),
    ]
    for key in keys:
        planned = await drafted(stage, key)
        assert (len(planned) > 3, sent) == (True, [])
        assert (await stage.reconcile(key))[0] == "Reconciled"
        assert sent == planned
        sent.clear()
        assert await drafted(stage, key) == []
    for key in reversed(keys):
        stage.delete(key)
        planned = await drafted(stage, key)
        assert (len(planned) > 0, sent) == (True, [])
        assert (await stage.reconcile(key))[2].release
        assert sent == planned
        sent.clear()


async def test_adopting_what_is_as_declared_is_nothing_but_marks(bed: Bed) -> None:
    """Grants of one object in the database of another, and owners, count as there."""
    name, reader, owner = bed.name("shop"), bed.name("reader"), bed.name("owner")
    await bed.execute(
        f"CREATE ROLE {owner}",
        f"CREATE ROLE {reader} LOGIN IN ROLE {owner}",
        f"CREATE DATABASE {name} OWNER {owner}",
    )
    await bed.execute(
        f"CREATE SCHEMA app AUTHORIZATION {owner}",
        f"GRANT USAGE ON SCHEMA app TO {reader}",
        database=name,
    )
    app = {"name": "app", "privileges": ["USAGE"]}
    objects = [
        database(
            called(name), "main", schemas=[{"name": "app"}], owner=owner, adopt=True
        ),
        database_role(called(owner), "main", login=False, adopt=True),
        database_role(
            called(reader),
            "main",
            login=True,
            adopt=True,
            memberOf=[{"role": owner}],
            permissions=[{"database": name, "privileges": [], "schemas": [app]}],
        ),
    ]
    result = await plan(bed.dsn, *objects)
    assert result.exit_code == 0, result.output
    assert result.output.count("IS '<mark>';") == 3
    assert "pending" not in result.output
    assert result.output.endswith("-- nothing to do\n")


async def test_file_is_planned_as_a_whole_and_applies_to_exactly_that(
    bed: Bed, stage: Stage, sent: list[str]
) -> None:
    """What needs another object of the file waits for it, and then comes the same."""
    name, owner = bed.name("shop"), bed.name("owner")
    tables = [{"name": "*", "privileges": ["SELECT"]}]
    app = {"name": "app", "privileges": ["USAGE"], "tables": tables}
    permission = {"database": name, "privileges": ["CONNECT"], "schemas": [app]}
    roles = {
        owner: {},
        bed.name("reader"): {
            "permissions": [permission],
            "memberOf": [{"role": bed.name("group")}],
        },
        bed.name("group"): {},
    }
    db = {"name": name, **MAIN, "schema": "app", "owner": owner}
    keys = [stage.put("Database", "shop", db, namespace="shop")]
    for role, more in roles.items():
        spec = {"roleName": role, **MAIN, "login": False, **more}
        keys.append(stage.put("DatabaseRole", role, spec, namespace="shop"))
    seer = replace(stage.context, foresight=Foresight())
    for key in (*keys[1:], keys[0]):
        await foresee(seer, key, stored(stage, key))
    planned = [
        statement
        for key in keys
        for statement in await drafted(stage, key, context=seer)
    ]
    assert sent == []
    for key in keys * 2:
        await stage.reconcile(key)
    # A mark is written again with what has been granted since.
    assert {*sent} == {*planned}
    for key in keys:
        assert await drafted(stage, key) == []


async def test_plan_of_what_belongs_to_somebody_else_says_so(bed: Bed) -> None:
    name = bed.name("theirs")
    await bed.execute(f"CREATE DATABASE {name}")
    result = await plan(bed.dsn, database(called(name), "main"))
    assert (result.exit_code, "AlreadyExists" in result.output) == (1, True)


@pytest.mark.parametrize("adopt", [False, True])
async def test_plan_gives_a_name_that_two_objects_of_a_file_want_to_the_first(
    bed: Bed, *, adopt: bool
) -> None:
    name = bed.name("shop")
    if adopt:
        await bed.execute(f"CREATE DATABASE {name}", f"CREATE ROLE {name}")
    first, second = (
        [make(called(name), "main", adopt=adopt) for make in (database, database_role)]
        for _ in range(2)
    )
    for obj in second:
        obj["metadata"]["namespace"] = "crm"
    result = await plan(bed.dsn, *first, *second)
    assert result.exit_code == 1
    assert result.output.count("IS '<mark>';") == 2
    assert result.output.count("Conflict: ") == 2
    assert "already managed by another object" in result.output
    for kind in ("Database", "DatabaseRole"):
        told = result.output.partition(f"-- {kind} crm/{called(name)}\n")[2]
        assert told.startswith("--   Conflict: ")


async def test_plan_tells_why_the_server_cannot_be_asked(bed: Bed) -> None:
    wrong = re.sub("password=[^ ]+", "password=wrong", bed.dsn)
    result = await plan(wrong, database(called(bed.name("db")), "main"))
    assert (result.exit_code, "AuthenticationFailed" in result.output) == (1, True)


async def test_generated_password_is_planned_and_not_made(
    bed: Bed, stage: Stage
) -> None:
    spec = {
        "roleName": bed.name("app"),
        **MAIN,
        "generatePassword": True,
        "connectionSecret": {"name": "app", "database": "shop"},
    }
    key = stage.put("DatabaseRole", "app", spec, namespace="shop")
    statements = await drafted(stage, key)
    assert statements[0].endswith("LOGIN PASSWORD '<redacted>'")


def api_server(stage: Stage, keys: dict[str, bytes]) -> ReadOnly:
    """An API server that has what the stage has, and takes no writes."""

    def listed(*objects: Object) -> Object:
        return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": objects}

    kubernetes = ReadOnly.alone()
    for kind in PLURALS:
        found = stage.cache.all(kind)
        kubernetes.show(
            object_path(kind, ""), {"apiVersion": API_VERSION, **listed(*found)}
        )
    namespaces = listed(*stage.cache.all("Namespace"))
    kubernetes.show(core_path("namespaces"), {"apiVersion": "v1", **namespaces})
    kube_system = {"metadata": {"name": "kube-system", "uid": stage.context.owner_id}}
    kubernetes.show(core_path("namespaces", "", "kube-system"), kube_system)
    secrets = {**stage.secrets, (OPERATOR, "pg-operator-keys"): keys}
    for (namespace, name), data in secrets.items():
        encoded = {key: base64.b64encode(one).decode() for key, one in data.items()}
        metadata = {"namespace": namespace, "name": name, "resourceVersion": "1"}
        path = core_path("secrets", namespace, name)
        kubernetes.show(path, {"metadata": metadata, "data": encoded})
    return kubernetes


async def test_plan_through_the_cluster_is_of_what_the_operator_manages(
    bed: Bed, stage: Stage
) -> None:
    """Its keys open the marks; the password in the Secret is the one that is set."""
    keys = Keyring.generate()
    stage.context = replace(stage.context, keyring=Keyring.from_secret(keys))
    stage.secrets["shop", "reader"] = {"password": NEW_PASSWORD.encode()}
    db, role = shop(bed, password={"name": "reader"})
    objects: list[tuple[Kind, dict[str, Any]]]
    objects = [("Database", db), ("DatabaseRole", role)]
    for kind, obj in objects:
        key = stage.put(kind, obj["metadata"]["name"], obj["spec"], namespace="shop")
        assert (await stage.reconcile(key))[0] == "Reconciled"
    db["spec"] |= {"timezone": "Europe/Berlin"}
    documents_of_file = read_documents(documents(db, role), namespace="shop")

    kubernetes = api_server(stage, keys)
    drafts = []
    async with world_of_cluster(
        documents_of_file, kubernetes, operator_namespace=OPERATOR
    ) as world:
        await world.foresee(documents_of_file.objects)
        drafts = [await world.plan(key) for key in documents_of_file.objects]

    (change,) = drafts[0].statements
    assert change.sql.endswith("SET \"timezone\" TO 'Europe/Berlin'")
    assert (drafts[1].statements, drafts[1].pending) == ((), ())
    with pytest.raises(NotLeading):
        await kubernetes.request("POST", object_path("Database", "shop"), body=db)


async def test_plan_through_the_cluster_needs_the_operators_keys(stage: Stage) -> None:
    documents_of_file = read_documents("", namespace="shop")
    kubernetes = api_server(stage, {})
    with pytest.raises(ValueError, match="is this the operator's namespace"):
        async with world_of_cluster(
            documents_of_file, kubernetes, operator_namespace="elsewhere"
        ):
            pass
