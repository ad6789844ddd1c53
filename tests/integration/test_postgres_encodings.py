"""Text that is no UTF-8: a server without an encoding stores what it is given."""

import pytest
from psycopg import conninfo

from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import (
    AlterDatabase,
    CreateDatabase,
    CreateSchema,
    SetRoleParameter,
)
from pg_operator.plan.policies import sentinel
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import RoleParameter
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_inventory import observe_hidden_settings
from pg_operator.postgres.observe_privileges import observe_holdings
from tests.integration.postgres_bed import Bed, open_bed
from tests.unit.plan_examples import everything

NOTHING = dict.fromkeys(BOUNDS, 0)
# E9 is é in LATIN1, and no character by itself in UTF-8.
RUN = """
DO $$ BEGIN EXECUTE pg_catalog.convert_from('\\x{}'::bytea, 'SQL_ASCII'); END $$
"""


def in_latin1(statement: str) -> str:
    """Return a statement that runs another one, whose text is LATIN1."""
    return RUN.format(statement.encode("latin1").hex())


@pytest.fixture
async def bytes_database(bed: Bed) -> str:
    """A database without an encoding, and a table in it that UTF-8 cannot name."""
    name = bed.name("bytes")
    await bed.apply(
        CreateDatabase(name, "SQL_ASCII", sentinel(bed.claimant("Database"))),
        AlterDatabase(name, allow_connections=True, connection_limit=-1),
        CreateSchema(name, "app"),
    )
    await bed.execute(
        "CREATE TABLE app.orders (id int)",
        in_latin1('CREATE TABLE app."café" (id int)'),
        database=name,
    )
    return name


async def test_table_that_utf8_cannot_name_is_pending_alone(
    bed: Bed, bytes_database: str
) -> None:
    role = bed.name("reader")
    await bed.create_role(role, login=False)
    async with bed.connections.session(bytes_database) as connection:
        catalog = await observe_catalog(
            connection, wanted=everything(bytes_database, "app")
        )
    tables = tuple(sorted(catalog.objects))
    assert "orders" in {table.name for table in tables}
    applied = await bed.apply(GrantPrivileges(role, tables, ("SELECT",)))
    assert [(p.path, p.reason) for p in applied.pending] == [
        (f"{bytes_database}.app.caf\\xe9", "NotFound")
    ]
    orders = Securable("table", bytes_database, "app", "orders")
    assert await bed.grants(role, database=bytes_database) == {Grant(orders, "SELECT")}


async def test_names_in_utf8_are_names_without_an_encoding_too(
    bed: Bed, bytes_database: str
) -> None:
    role = bed.name("reader")
    await bed.create_role(role, login=False)
    await bed.execute('CREATE TABLE app."Köln 北" (id int)', database=bytes_database)
    applied = await bed.grant(
        role, "SELECT", database=bytes_database, schema="app", table="Köln 北"
    )
    assert applied.pending == ()
    table = Securable("table", bytes_database, "app", "Köln 北")
    assert await bed.grants(role, database=bytes_database) == {Grant(table, "SELECT")}


async def test_role_that_holds_or_owns_what_utf8_cannot_name_is_observed(
    bed: Bed, bytes_database: str
) -> None:
    role = bed.name("owner")
    await bed.create_role(role, login=False)
    await bed.execute(
        "GRANT SELECT ON app.orders TO " + role,
        in_latin1(f'GRANT SELECT ON app."café" TO {role}'),
        f"GRANT CREATE ON SCHEMA app TO {role}",
        in_latin1(f'ALTER TABLE app."café" OWNER TO {role}'),
        database=bytes_database,
    )
    orders = Securable("table", bytes_database, "app", "orders")
    assert Grant(orders, "SELECT") in await bed.grants(role, database=bytes_database)
    async with bed.connections.session(bytes_database) as connection:
        (owned,) = (await observe_holdings(connection, role)).owned
    assert owned.name == "caf\\xe9"


async def test_comment_and_setting_in_another_encoding_hide_no_database(
    bed: Bed, bytes_database: str
) -> None:
    """What they were written in is forgotten: they are read from any database."""
    await bed.execute(
        in_latin1(f"COMMENT ON DATABASE {bytes_database} IS 'café'"),
        in_latin1(f"ALTER DATABASE {bytes_database} SET application_name = 'café'"),
        database=bytes_database,
    )
    state = await bed.database(bytes_database)
    assert state.exists
    async with bed.connections.session() as connection:
        hidden = await observe_hidden_settings(connection, bounds=NOTHING)
    assert (state.mark, state.comment) == (None, "caf\\xe9")
    assert state.settings == {"application_name": "caf\\xe9"}
    assert hidden[bytes_database, ""] == ("application_name",)


async def test_setting_in_another_encoding_hides_no_role(
    bed: Bed, bytes_database: str
) -> None:
    """Every role may set it for itself, and would keep what is to be revoked."""
    role, group = bed.name("app"), bed.name("staff")
    await bed.create_role(role)
    await bed.create_role(group)
    await bed.execute(
        f"GRANT {group} TO {role}",
        f"GRANT CONNECT ON DATABASE {bytes_database} TO {role}",
    )
    async with bed.login(role, bytes_database) as connection:
        await connection.execute(
            in_latin1(
                f"ALTER ROLE {role} IN DATABASE {bytes_database}"
                " SET application_name = 'café'"
            ).encode()
        )
    state = await bed.role(role)
    assert state.parameters == {
        RoleParameter("application_name", bytes_database): "caf\\xe9"
    }
    assert {row.role for row in state.memberships} == {group}


async def test_what_the_encoding_of_the_own_database_lacks_is_pending_alone(
    bed: Bed,
) -> None:
    """The server refuses such a statement before it runs any of it."""
    name, role = bed.name("latin1"), bed.name("app")
    await bed.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    )
    await bed.create_role(role)
    await bed.grant(role, "CONNECT", database=name)
    on = tuple(one.on for one in (await bed.role(role)).grants)
    dsn = conninfo.make_conninfo(bed.dsn, dbname=name)
    async with open_bed(dsn) as latin1:
        applied = await latin1.apply(
            SetRoleParameter(role, RoleParameter("application_name"), "5 €"),
            RevokePrivileges(role, on, ("CONNECT",)),
        )
    assert [pending.path for pending in applied.pending] == [
        RoleParameter("application_name").path
    ]
    assert (await bed.role(role)).grants == frozenset()
