"""Extensions on a real server, made by a login that is no superuser."""

from pg_operator.api.specs import Extension
from pg_operator.plan.operations import (
    AlterExtensionSchema,
    AlterExtensionVersion,
    CreateExtension,
    CreateSchema,
)
from pg_operator.plan.state import Installed
from pg_operator.postgres.observe_extensions import (
    observe_extensions,
    observe_trusted,
)
from tests.integration.postgres_bed import Bed, open_bed
from tests.localcluster.postgres import PostgresServer


async def installed(bed: Bed, database: str) -> dict[str, Installed]:
    async with bed.connections.session(database) as connection:
        found = await observe_extensions(connection)
    return {name: found[name] for name in found.keys() - {"plpgsql"}}


async def test_trusted_extension_is_created_and_updated_but_not_moved(
    bed: Bed, server: PostgresServer
) -> None:
    """What is in a trusted extension belongs to the bootstrap superuser."""
    name = bed.name("db")
    await bed.create_database(name)
    applied = await bed.apply(
        CreateSchema(name, "app"),
        CreateSchema(name, "tools"),
        CreateExtension(name, "pg_trgm", "app", "1.3"),
    )
    assert applied.pending == ()
    assert await installed(bed, name) == {"pg_trgm": Installed("app", "1.3")}
    applied = await bed.apply(
        AlterExtensionVersion(name, "pg_trgm", "1.4"),
        AlterExtensionSchema(name, "pg_trgm", "tools"),
    )
    assert [part.path for part in applied.pending] == [f"{name}.pg_trgm"]
    assert await installed(bed, name) == {"pg_trgm": Installed("app", "1.4")}
    async with open_bed(server.superuser_dsn) as superuser:
        applied = await superuser.apply(AlterExtensionSchema(name, "pg_trgm", "tools"))
    assert applied.pending == ()
    assert await installed(bed, name) == {"pg_trgm": Installed("tools", "1.4")}


async def test_extension_that_cannot_be_made_is_pending_alone(bed: Bed) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    applied = await bed.apply(
        CreateExtension(name, "pageinspect", "public", None),
        CreateExtension(name, "pg_trgm", "missing", None),
        CreateExtension(name, "pg_trgm", "public", "0.0"),
        CreateSchema(name, "app"),
    )
    assert [part.path for part in applied.pending] == [
        f"{name}.pageinspect",
        f"{name}.pg_trgm",
        f"{name}.pg_trgm",
    ]
    assert await installed(bed, name) == {}


async def test_server_says_which_extensions_it_trusts(bed: Bed) -> None:
    asked = [
        Extension.parse({"name": name, "schema": "public", **more})
        for name, more in (
            ("pg_trgm", {}),
            ("hstore", {"version": "1.4"}),
            ("citext", {"version": "0.0"}),
            ("pageinspect", {}),
            ("no_such", {}),
        )
    ]
    async with bed.connections.session() as connection:
        trusted = await observe_trusted(connection, asked)
    assert trusted == {"pg_trgm": True, "hstore": True, "pageinspect": False}
