"""Roles on a real server: made, logged in as, changed, dropped."""

import asyncio

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pg_operator.api.secret import SecretText
from pg_operator.api.values import INFINITY
from pg_operator.plan.deletion import deletion_role
from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import (
    AlterRole,
    CreateRole,
    CreateSchema,
    DropOwned,
    DropRole,
    MarkRole,
    ReassignOwned,
    TerminateSessions,
)
from pg_operator.plan.state import Dependencies, Mark, Password, RoleState
from pg_operator.postgres.apply import apply
from pg_operator.postgres.errors import AlreadyExistsNow, ObjectInUse, Rejected
from pg_operator.postgres.observe_dependencies import (
    observe_dependencies,
    observe_homes,
    observe_is_plain,
)
from pg_operator.postgres.observe_privileges import observe_holdings
from pg_operator.postgres.quiet import PARAMETER_PRIVILEGES
from tests.integration.postgres_bed import (
    PASSWORD,
    Bed,
    logged_since,
    open_bed,
    run_as_superuser,
)
from tests.localcluster.postgres import PostgresServer


async def observe_entanglement(bed: Bed, role: str) -> Dependencies:
    async with bed.connections.session() as connection:
        return (await observe_dependencies(connection, [role]))[role]


async def test_role_that_is_absent_is_observed_as_such(bed: Bed) -> None:
    name = bed.name("absent")
    assert await bed.role(name) == RoleState(name, exists=False, mark=None)


async def test_created_role_logs_in_with_its_password_only(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    async with bed.login(role, "postgres") as connection:
        assert connection.info.user == role
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        async with bed.login(role, "postgres", password="wrong"):
            pass


async def test_created_role_is_observed_as_it_was_made(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    state = await bed.role(role)
    fingerprint = bed.password(role=role).fingerprint
    assert state.login is True
    assert state.superuser is False
    assert state.connection_limit == -1
    assert state.password == Password(fingerprint)
    assert state.self_member is True
    assert state.grants == frozenset()
    assert isinstance(state.mark, Mark)
    assert state.mark.claimant == bed.claimant("DatabaseRole")


async def test_role_that_is_valid_for_ever_is_observed(bed: Bed) -> None:
    """No date of Python's is as late; RDS has its administrators so."""
    role = bed.name("app")
    await bed.create_role(role)
    await bed.execute(f"ALTER ROLE {role} VALID UNTIL 'infinity'")
    assert (await bed.role(role)).valid_until == INFINITY


async def test_role_made_by_others_is_observed_without_a_password(bed: Bed) -> None:
    role = bed.name("other")
    await bed.execute(f"CREATE ROLE {role} NOLOGIN CONNECTION LIMIT 3")
    state = await bed.role(role)
    assert (state.login, state.connection_limit) == (False, 3)
    assert state.mark is None
    assert not isinstance(state.password, Password)
    assert state.self_member is False


async def test_changed_password_works_and_the_old_one_fails(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    await bed.apply(AlterRole(role, password=bed.password("new one", role=role)))
    async with bed.login(role, "postgres", password="new one"):
        pass
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        async with bed.login(role, "postgres", password=PASSWORD):
            pass


@pytest.mark.parametrize(
    "text",
    [
        "md5" + "0" * 32,
        "SCRAM-SHA-256$4096:c2FsdA==$AAAA:BBBB",
        'it\'s \\ "quoted" %s {}',
        "ﬁne\u00a0\u00adprint",
        "x" * 900,
    ],
)
async def test_any_password_is_hashed_and_works(bed: Bed, text: str) -> None:
    """Also one that looks as if it were hashed already."""
    role = bed.name("app")
    await bed.create_role(role)
    await bed.apply(AlterRole(role, password=bed.password(text, role=role)))
    async with bed.login(role, "postgres", password=text) as connection:
        assert connection.info.user == role


@pytest.mark.parametrize("text", ["", "with\0nul"])
async def test_password_that_postgresql_would_not_keep_creates_no_role(
    bed: Bed, text: str
) -> None:
    role = bed.name("app")
    password = Password("f", SecretText(text))
    with pytest.raises(Rejected, match="password"):
        await bed.apply(
            CreateRole(role, login=True, connection_limit=None, password=password)
        )
    assert not (await bed.role(role)).exists


async def test_password_never_reaches_the_servers_log(
    bed: Bed, server: PostgresServer
) -> None:
    """Nor one of any other test: the server logs every statement."""
    role = bed.name("app")
    await bed.create_role(role)
    change = bed.password("new § password", role=role)
    await bed.apply(AlterRole(role, password=change))
    with pytest.raises(Rejected):
        await bed.apply(AlterRole(bed.name("nobody"), password=change))
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert f'ALTER ROLE "{role}" PASSWORD' in log
    assert PASSWORD not in log
    assert "new § password" not in log


async def test_verifier_is_not_logged_by_a_login_that_may_keep_it_out(
    bed: Bed, server: PostgresServer
) -> None:
    if bed.server.version_number < PARAMETER_PRIVILEGES:
        pytest.skip("up to PostgreSQL 14 only a superuser can be that")
    login = bed.name("discreet")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {login} LOGIN CREATEDB CREATEROLE",
        f"ALTER ROLE {login} PASSWORD 'discreet-login-canary'",
        f"GRANT SET ON PARAMETER log_statement, log_min_error_statement,"
        f" log_transaction_sample_rate TO {login}",
        f"ALTER ROLE {login} SET log_transaction_sample_rate TO 1",
        f"ALTER ROLE {login} SET debug_print_parse TO on",
    )
    dsn = make_conninfo(server.admin_dsn, user=login, password="discreet-login-canary")
    role = bed.name("app")
    before = server.log.stat().st_size
    async with open_bed(dsn) as theirs:
        await theirs.create_role(role)
        change = theirs.password("new § password", role=role)
        await theirs.apply(AlterRole(role, password=change))
        with pytest.raises(Rejected):
            await theirs.apply(AlterRole(bed.name("nobody"), password=change))
    said = logged_since(server, before)
    assert f'COMMENT ON ROLE "{role}"' in said
    assert "SCRAM-SHA-256$" not in said


async def test_role_and_its_mark_come_to_be_together(bed: Bed) -> None:
    """A mark that cannot be written takes the role back."""
    role = bed.name("app")
    mark = Mark(bed.claimant("DatabaseRole"), foreign_comment="nul \0")
    with pytest.raises(Rejected):
        await bed.apply(
            CreateRole(role, login=False, connection_limit=None, password=None),
            MarkRole(role, None, mark.foreign_comment),
        )
    assert not (await bed.role(role)).exists


async def test_role_created_meanwhile_is_reported_as_existing(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    with pytest.raises(AlreadyExistsNow):
        await bed.create_role(role)


async def test_role_created_at_the_same_moment_exists_once(bed: Bed) -> None:
    role = bed.name("app")
    results = await asyncio.gather(
        *(bed.create_role(role) for _ in range(4)), return_exceptions=True
    )
    assert results.count(None) == 1
    assert sum(isinstance(result, AlreadyExistsNow) for result in results) == 3


async def test_role_that_somebody_is_about_to_create_is_reported_as_existing(
    bed: Bed, server: PostgresServer
) -> None:
    """It is not there to be seen, and then PostgreSQL names an index of its own."""
    role = bed.name("app")
    async with await psycopg.AsyncConnection.connect(server.superuser_dsn) as other:
        await other.execute(f"CREATE ROLE {role}")
        assert not (await bed.role(role)).exists
        creating = asyncio.create_task(bed.create_role(role))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        async with await psycopg.AsyncConnection.connect(server.superuser_dsn) as look:
            while (await (await look.execute(waiting)).fetchone()) == (0,):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await other.commit()
        with pytest.raises(AlreadyExistsNow):
            await creating


async def test_comment_of_a_role_is_kept_and_restored(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    await bed.execute(f"COMMENT ON ROLE {role} IS 'team b'")
    assert (await bed.role(role)).comment == "team b"
    mark = Mark(bed.claimant("DatabaseRole"), foreign_comment="team b")
    await bed.apply(MarkRole(role, mark))
    assert (await bed.role(role)).mark == mark
    await bed.apply(MarkRole(role, None, "team b"))
    assert (await bed.role(role)).comment == "team b"
    await bed.apply(MarkRole(role, None))
    assert (await bed.role(role)).comment is None


async def test_sessions_of_a_disabled_role_end(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    async with bed.login(role, "postgres") as connection:
        await bed.apply(AlterRole(role, login=False), TerminateSessions(role))
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")


async def test_role_entangled_in_three_databases_is_dropped_and_data_kept(
    bed: Bed,
) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    databases = [bed.name(f"db{number}") for number in range(3)]
    for database in databases:
        await bed.create_database(database)
        await bed.apply(CreateSchema(database, "team-app"))
        await bed.grant(role, "CONNECT", database=database)
        await bed.grant(role, "USAGE", "CREATE", database=database, schema="team-app")
        async with bed.login(role, database) as connection:
            await connection.execute('CREATE TABLE "team-app".kept AS SELECT 1 AS one')
            await connection.execute(
                'CREATE FUNCTION "team-app".who() RETURNS name SECURITY DEFINER'
                " RETURN current_user"
            )
    await bed.execute(f"ALTER DATABASE {databases[2]} OWNER TO {role}")

    dependencies = await observe_entanglement(bed, role)
    assert dependencies.owner_in == set(databases)
    assert dependencies.granted_in >= set(databases[:2])
    assert dependencies.owned_databases == {databases[2]}

    homes = {}
    for database in databases:
        async with bed.connections.session(database) as connection:
            homes[database] = await observe_homes(connection, role)
    assert homes == {database: {"team-app"} for database in databases}
    heir = bed.name("heir")
    plan = deletion_role(
        await bed.role(role),
        policy="Delete",
        dependencies=dependencies,
        heir=await bed.role(heir),
        homes=homes,
    )
    applied = await apply(
        plan, server=bed.server, connections=bed.connections, keyring=bed.keyring
    )
    assert applied.pending == ()
    assert not (await bed.role(role)).exists
    assert (await bed.database(databases[2])).owner == heir
    for database in databases:
        async with bed.connections.session(database) as connection:
            cursor = await connection.execute(
                'SELECT one, "team-app".who() FROM "team-app".kept'
            )
            # What it wrote must not run as the operator's login, which may do a lot.
            assert await cursor.fetchone() == (1, heir)


@pytest.mark.parametrize(
    ("statement", "is_plain"),
    [
        ("CREATE TABLE app.t (id int PRIMARY KEY, c text CHECK (c <> ''))", True),
        ("CREATE TABLE app.t (id serial) PARTITION BY RANGE (id)", True),
        ("CREATE TYPE app.mood AS ENUM ('ok')", True),
        ("CREATE VIEW app.v AS SELECT 1", False),
        ("CREATE MATERIALIZED VIEW app.v AS SELECT 1", False),
        ("CREATE FUNCTION app.f() RETURNS int RETURN 1", False),
        (
            "CREATE FUNCTION app.f() RETURNS int SECURITY DEFINER RETURN 1",
            False,
        ),
        (
            "CREATE TABLE app.t (c text); CREATE INDEX ON app.t (lower(c))",
            False,
        ),
        (
            "CREATE TABLE app.t (c text); CREATE INDEX ON app.t (c) WHERE c <> ''",
            False,
        ),
        (
            "CREATE TABLE app.t (); CREATE RULE r AS ON UPDATE TO app.t DO NOTHING",
            False,
        ),
        (
            (
                "CREATE TABLE app.t (a int, b int);"
                " CREATE STATISTICS app.s ON (a + b) FROM app.t"
            ),
            False,
        ),
        (
            (
                "CREATE TABLE app.t (); CREATE TRIGGER g BEFORE UPDATE ON app.t"
                " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ),
            False,
        ),
    ],
)
async def test_only_what_runs_no_code_as_its_owner_is_plain(
    bed: Bed, statement: str, *, is_plain: bool
) -> None:
    role, database = bed.name("app"), bed.name("db")
    await bed.create_role(role)
    await bed.create_database(database)
    await bed.execute(f"CREATE SCHEMA app AUTHORIZATION {role}", database=database)
    await bed.grant(role, "CONNECT", database=database)
    async with bed.login(role, database) as connection:
        for part in statement.split(";"):
            await connection.execute(part.encode())
    async with bed.connections.session(database) as connection:
        assert await observe_is_plain(connection, role) is is_plain


async def test_plain_things_are_reassigned_to_a_successor(bed: Bed) -> None:
    role, owner = bed.name("app"), bed.name("owner")
    plain, code = bed.name("plain"), bed.name("code")
    for name in (role, owner):
        await bed.create_role(name)
    for database in (plain, code):
        await bed.create_database(database)
        await bed.execute(f"CREATE SCHEMA app AUTHORIZATION {role}", database=database)
        await bed.grant(role, "CONNECT", database=database)
        async with bed.login(role, database) as connection:
            await connection.execute("CREATE TABLE app.kept AS SELECT 1 AS one")
    async with bed.login(role, code) as connection:
        await connection.execute(
            "CREATE FUNCTION app.who() RETURNS name SECURITY DEFINER"
            " RETURN current_user"
        )
    found = set()
    for database in (plain, code):
        async with bed.connections.session(database) as connection:
            if await observe_is_plain(connection, role):
                found.add(database)
    assert found == {plain}
    heir = bed.name("heir")
    plan = deletion_role(
        await bed.role(role),
        policy="Delete",
        dependencies=await observe_entanglement(bed, role),
        heir=await bed.role(heir),
        homes={code: {"app"}},
        successor=await bed.role(owner),
        plain=found,
    )
    assert (await bed.apply(*plan.operations)).pending == ()
    query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'kept'"
    for database, new_owner in ((plain, owner), (code, heir)):
        async with bed.connections.session(database) as connection:
            cursor = await connection.execute(query)
            assert await cursor.fetchone() == (new_owner,)
    async with bed.connections.session(code) as connection:
        cursor = await connection.execute("SELECT app.who()")
        assert await cursor.fetchone() == (heir,)


async def test_role_that_still_owns_something_is_not_dropped(bed: Bed) -> None:
    role, database = bed.name("app"), bed.name("db")
    await bed.create_role(role)
    await bed.create_database(database)
    await bed.execute(f"CREATE SCHEMA own AUTHORIZATION {role}", database=database)
    with pytest.raises(ObjectInUse):
        await bed.apply(DropRole(role))
    await bed.apply(
        ReassignOwned(database, role, bed.server.login),
        DropOwned(database, role),
        DropRole(role),
    )
    assert not (await bed.role(role)).exists


async def test_what_a_role_holds_as_owner_counts_as_held(bed: Bed) -> None:
    """Else a grant on an own table would be written again for ever."""
    role, database = bed.name("app"), bed.name("db")
    await bed.create_role(role)
    await bed.create_database(database)
    await bed.execute(
        f"CREATE SCHEMA own AUTHORIZATION {role}",
        "CREATE TABLE own.mine (id int)",
        f"ALTER TABLE own.mine OWNER TO {role}",
        "CREATE SEQUENCE own.numbers",
        f"ALTER SEQUENCE own.numbers OWNER TO {role}",
        f"GRANT SELECT ON own.mine TO {bed.server.login}",
        database=database,
    )
    mine = Securable("table", database, "own", "mine")
    schema = Securable("schema", database, "own")
    grants = await bed.grants(role, database=database)
    assert {Grant(mine, "SELECT"), Grant(schema, "CREATE")} <= grants
    async with bed.connections.session(database) as connection:
        holdings = await observe_holdings(connection, role)
    numbers = Securable("sequence", database, "own", "numbers")
    assert holdings.owned == {mine, numbers, schema}
