"""An existing server becomes objects that change nothing on it but marks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pg_operator.api.secret import SecretText
from pg_operator.api.validation import VALIDATORS
from pg_operator.cli.main import main
from pg_operator.plan.export import Choices, Export, export
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.marks import PREFIX
from pg_operator.postgres.observe_inventory import observe_granted_inside
from pg_operator.reconcilers.inventory import observe_inventory
from pg_operator.reconcilers.outcome import Key
from tests.integration.existing import Existing, make_by_hand, state_of_server
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser
from tests.integration.reconcile_bed import Stage, on_stage
from tests.localcluster.postgres import PostgresServer


@pytest.fixture(params=["superuser", "admin"])
def dsn(request: pytest.FixtureRequest, server: PostgresServer) -> str:
    """The operator's login to be: everything works with either."""
    is_superuser = request.param == "superuser"
    return server.superuser_dsn if is_superuser else server.admin_dsn


@pytest.fixture
async def bed(dsn: str) -> AsyncIterator[Bed]:
    async with open_bed(dsn) as bed:
        yield bed


@pytest.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with on_stage(dsn) as stage:
        yield stage


@pytest.fixture
async def existing(bed: Bed, server: PostgresServer) -> Existing:
    existing = await make_by_hand(bed, server.superuser_dsn)
    await bed.connections.close_idle(older_than=0)
    return existing


async def export_chosen(dsn: str, existing: Existing) -> Export:
    parsed = parse_dsn(SecretText(dsn), allow_loopback=True)
    # The server itself refuses to write.
    connections = ServerConnections(parsed, read_only=True)
    choices = Choices("main", "dsn", "shop", existing.databases, existing.roles)
    try:
        return export(await observe_inventory(connections, parsed, choices), choices)
    finally:
        await connections.close()


def put_all(stage: Stage, exported: Export) -> list[Key]:
    """Store the objects, which replace the stage's own DatabaseCluster."""
    return [
        stage.put(
            one.document["kind"],
            one.document["metadata"]["name"],
            dict(one.spec),
            namespace=one.document["metadata"].get("namespace", ""),
        )
        for one in exported.objects
    ]


async def take_over(stage: Stage, keys: list[Key]) -> list[tuple[str, str]]:
    """Reconcile until every object can have seen the others; return what remains."""
    for key in keys:
        await stage.reconcile(key)
    left = []
    for key in keys:
        reason, message, _ = await stage.reconcile(key)
        if reason not in {"Reconciled", "Connected"}:
            left.append((reason, message))
    return left


@pytest.mark.parametrize("first", ["roles", "databases"])
async def test_existing_server_is_taken_over_without_a_change(
    dsn: str,
    server: PostgresServer,
    bed: Bed,
    stage: Stage,
    existing: Existing,
    first: str,
) -> None:
    places = ("postgres", *sorted(existing.databases))
    before = await state_of_server(server.superuser_dsn, *places)

    exported = await export_chosen(dsn, existing)
    keys = put_all(stage, exported)
    keys.sort(key=lambda key: key.kind, reverse=first == "roles")
    left = await take_over(stage, keys)

    assert left == []
    after = await state_of_server(server.superuser_dsn, *places)
    if not bed.server.superuser:
        # What the login needs to act for the roles, and the export says.
        for state in (*before.values(), *after.values()):
            own = f"'{bed.server.login}', {{"
            state["memberships"] = [
                row for row in state["memberships"] if own not in row
            ]
    assert after == before
    for role in existing.roles:
        assert (await bed.role(role)).comment is None
    again = await export_chosen(dsn, existing)
    assert [one.document["kind"] for one in again.objects] == ["DatabaseCluster"]
    managed = [one for one in again.left_out if "managed already" in one]
    assert len(managed) == len(existing.roles | existing.databases)


async def test_taken_over_server_has_nothing_left_to_write(
    dsn: str, server: PostgresServer, bed: Bed, stage: Stage, existing: Existing
) -> None:
    keys = put_all(stage, await export_chosen(dsn, existing))
    assert await take_over(stage, keys) == []
    marks = await comments(bed)

    assert await take_over(stage, keys) == []

    # A mark is sealed anew whenever it is written.
    assert await comments(bed) == marks
    assert all(text.startswith(PREFIX) for text in marks.values())


async def comments(bed: Bed) -> dict[str, str]:
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT o.name, d.description FROM pg_catalog.pg_shdescription AS d"
            " JOIN (SELECT oid, rolname AS name FROM pg_catalog.pg_roles"
            "       UNION ALL SELECT oid, datname FROM pg_catalog.pg_database) AS o"
            " ON o.oid = d.objoid WHERE pg_catalog.starts_with(o.name, %s)",
            (bed.prefix,),
        )
        return dict(await cursor.fetchall())


async def test_what_objects_cannot_say_is_said_beside_them(
    dsn: str, existing: Existing
) -> None:
    exported = await export_chosen(dsn, existing)

    remarks = {
        one.document["metadata"]["name"]: " ".join(one.remarks)
        for one in exported.objects
    }
    reader = remarks[existing.object_name("reader")]
    for said in (
        "its password is not in here",
        "language plpgsql",
        "what is in database 'postgres'",
        f"future tables of role {existing['owner']} in database",
        "USAGE on schema Legacy",
        "SELECT on table secret of schema Legacy",
        f"granted by '{existing['writer']}', who is not the owner: CONNECT",
    ):
        assert said in reader
    shop = remarks[existing.object_name("shop")]
    for said in (
        "schema 'Legacy' and privileges in it",
        "everybody (PUBLIC) keeps CONNECT on the database",
        "everybody (PUBLIC) has SELECT on table or sequence",
        "the owner of schema 'log'",
    ):
        assert said in shop


async def test_settings_of_all_roles_are_said_beside_the_server(
    dsn: str, bed: Bed, existing: Existing, superuser_dsn: str
) -> None:
    name = f"{bed.prefix}.tier"
    await run_as_superuser(superuser_dsn, f"ALTER ROLE ALL SET {name} = 'x'")
    try:
        exported = await export_chosen(dsn, existing)
    finally:
        await run_as_superuser(superuser_dsn, f"ALTER ROLE ALL RESET {name}")
    cluster = exported.objects[0]
    assert cluster.document["kind"] == "DatabaseCluster"
    (remark,) = [one for one in cluster.remarks if "ALTER ROLE ALL SET" in one]
    assert f"'{name}'" in remark


async def test_owner_is_not_said_to_be_granted_anything(bed: Bed) -> None:
    """PostgreSQL lists owners and grantees of objects side by side."""
    database, owner, reader = (bed.name(one) for one in ("db", "owner", "reader"))
    await bed.create_database(database)
    for role in (owner, reader):
        await bed.create_role(role)
    await bed.execute(f"CREATE SCHEMA app AUTHORIZATION {owner}", database=database)
    await bed.grant(reader, "USAGE", database=database, schema="app")
    async with bed.connections.session() as connection:
        found = await observe_granted_inside(connection)
    assert owner not in found
    assert found[reader] == {database}


async def test_objects_say_what_was_made_by_hand(dsn: str, existing: Existing) -> None:
    exported = await export_chosen(dsn, existing)

    specs = {one.document["metadata"]["name"]: one.spec for one in exported.objects}
    reader = specs[existing.object_name("reader")]
    assert reader["inherit"] is False
    assert reader["parameters"]["search_path"] == 'app, "Odd Name"'
    assert reader["memberOf"] == [{"role": existing["staff"], "admin": True}]
    in_shop, in_stats = reader["permissions"]
    assert in_stats == {"database": existing["stats"], "privileges": ["CONNECT"]}
    app, log = in_shop["schemas"]
    assert app["tables"] == [
        {"name": "*", "privileges": ["SELECT"]},
        {"name": "User", "privileges": ["UPDATE"], "grantable": ["UPDATE"]},
        {"name": "secrets", "privileges": ["INSERT"]},
    ]
    assert app["exceptTables"] == ["secrets"]
    assert [one["name"] for one in log["functions"]] == [
        'f(log.mood,"char",integer[])',
        "p()",
    ]
    columns = {one["name"]: one.get("columns") for one in log["tables"]}
    assert columns["events"] == [
        {"name": "id", "privileges": ["INSERT"]},
        {"name": "y", "privileges": ["INSERT", "UPDATE"]},
    ]
    writer = specs[existing.object_name("writer")]
    assert writer["validUntil"] == "2031-05-01T10:00:00Z"
    assert writer["permissions"][0]["grantable"] == ["CONNECT", "CREATE"]


async def run_export(path: Path, dsn: str, *options: str) -> Result:
    """Run the command as a person does, on the whole server."""
    await asyncio.to_thread(path.write_text, dsn)
    arguments = ["export", f"--dsn-file={path}", "--namespace=shop", *options]
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def test_export_of_a_whole_server_is_valid_and_always_the_same(
    dsn: str, bed: Bed, existing: Existing, tmp_path: Path
) -> None:
    results = [await run_export(tmp_path / "dsn", dsn) for _ in range(2)]

    assert {result.exit_code for result in results} == {0}
    text = results[0].stdout
    assert results[1].stdout == text
    password = SecretText(dsn).reveal().split("password=")[1].split()[0]
    assert password not in text + results[0].stderr
    documents: list[dict[str, Any]] = [
        one for one in yaml.safe_load_all(text) if one is not None
    ]
    for document in documents:
        assert VALIDATORS[document["kind"]](document).errors == ()
    names = {one["spec"].get("roleName") for one in documents}
    assert existing.roles <= names
    assert bed.server.login not in names
    assert f"role '{bed.server.login}': it is " in " ".join(
        text.replace("\n#", " ").split()
    )


async def test_export_of_a_server_that_does_not_answer_says_so(tmp_path: Path) -> None:
    dsn = "host=127.0.0.1 port=9 user=u password=hunter2 sslmode=disable"
    result = await run_export(tmp_path / "dsn", dsn)

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "hunter2" not in result.output


async def test_database_that_lets_nobody_in_is_left_out_and_named(
    dsn: str, server: PostgresServer, bed: Bed, existing: Existing
) -> None:
    await run_as_superuser(
        server.superuser_dsn,
        f"ALTER DATABASE {existing['stats']} ALLOW_CONNECTIONS false",
    )

    exported = await export_chosen(dsn, existing)

    assert any(
        existing["stats"] in one and "lets nobody in" in one
        for one in exported.left_out
    )
    (reader,) = (
        one
        for one in exported.objects
        if one.spec.get("roleName") == existing["reader"]
    )
    databases = [one["database"] for one in reader.spec["permissions"]]
    assert databases == [existing["shop"]]
    assert any(existing["stats"] in one for one in reader.remarks)


async def test_export_plans_to_nothing_but_marks(
    dsn: str, bed: Bed, existing: Existing, tmp_path: Path
) -> None:
    chosen = [f"--database={name}" for name in sorted(existing.databases)]
    chosen += [f"--role={name}" for name in sorted(existing.roles)]
    exported = await run_export(tmp_path / "dsn", dsn, *chosen)
    planned = await asyncio.to_thread(
        CliRunner().invoke,
        main,
        ["plan", "-f", "-"],
        input=exported.stdout,
        env={"PGOP_ADMIN_DSN": dsn},
    )
    statements = [line for line in planned.stdout.splitlines() if line[:2] != "--"]
    # What the login needs to act for the roles, and the export says.
    joins = [
        f'GRANT "{existing[part]}" TO CURRENT_USER'
        for part in existing.parts
        if not (bed.server.superuser or part == "owner")
    ]
    marks = [one for one in statements if one.startswith("COMMENT ON")]
    assert len(marks) == len(existing.roles | existing.databases)
    others = [one for one in statements if one and one not in marks]
    assert len(others) == len(joins)
    assert all(one.startswith(tuple(joins)) for one in others)
    assert planned.exit_code == (2 if joins else 0)
