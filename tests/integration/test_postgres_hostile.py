"""What tenants and others try on a real server, and that it has no effect."""

import asyncio
from typing import Any

import pytest
from psycopg import conninfo, errors

from pg_operator.api.secret import SecretText
from pg_operator.plan.grants import Grant, Securable
from pg_operator.plan.operations import MarkDatabase, MarkRole
from pg_operator.plan.privileges import GrantPrivileges
from pg_operator.plan.state import Claimant, Mark, UnverifiedMark
from pg_operator.postgres import bounds
from pg_operator.postgres.bounds import (
    BOUNDS,
    LONGEST_COMMENT,
    LONGEST_SETTING,
)
from pg_operator.postgres.connect import LOGIN_TRIGGERS, ServerConnections
from pg_operator.postgres.dsn import Dsn, parse_dsn
from pg_operator.postgres.errors import (
    DatabaseRefused,
    DatabaseTooLarge,
    ServerUnreachable,
)
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_databases import observe_databases
from pg_operator.postgres.observe_dependencies import (
    observe_dependencies,
    observe_homes,
)
from pg_operator.postgres.observe_digests import observe_digests
from pg_operator.postgres.observe_inventory import observe_hidden_settings
from pg_operator.postgres.observe_objects import observe_objects
from pg_operator.postgres.observe_privileges import (
    observe_creators,
    observe_database_holdings,
    observe_holdings,
)
from pg_operator.postgres.observe_roles import observe_roles
from tests.integration.postgres_bed import (
    Bed,
    evil_aclexplode,
    observe_role,
    open_bed,
    run_as_superuser,
)
from tests.localcluster.postgres import PostgresServer
from tests.unit.plan_examples import everything, securables


@pytest.fixture
async def theirs(bed: Bed) -> tuple[str, str]:
    """A database that a tenant's role owns, and that role."""
    database, tenant = bed.name("theirs"), bed.name("tenant")
    await bed.create_database(database)
    await bed.create_role(tenant)
    await bed.execute(f"ALTER DATABASE {database} OWNER TO {tenant}")
    await bed.grant(tenant, "CONNECT", database=database)
    return database, tenant


@pytest.mark.parametrize(
    "setting",
    [
        "search_path = evil, pg_catalog",
        "role = {tenant}",
        "local_preload_libraries = 'nothing'",
        "default_transaction_read_only = on",
        "statement_timeout = 1",
        "client_encoding = 'SJIS'",
        "client_min_messages = error",
        "standard_conforming_strings = off",
        "default_transaction_isolation = serializable",
        "datestyle = 'German'",
        "lock_timeout = 1",
        "timezone = 'Asia/Kolkata'",
        "default_tablespace = pg_global",
        "idle_session_timeout = 1000",
        "idle_in_transaction_session_timeout = 1000",
    ],
)
async def test_setting_of_a_database_owner_does_not_reach_us(
    bed: Bed, theirs: tuple[str, str], setting: str
) -> None:
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        await connection.execute(
            f"ALTER DATABASE {database} SET {setting.format(tenant=tenant)}"
        )
    async with bed.connections.session(database) as ours:
        cursor = await ours.execute(
            "SELECT current_user::text, current_setting('search_path'),"
            " current_setting('default_transaction_read_only'),"
            " current_setting('statement_timeout'), current_setting('lock_timeout'),"
            " current_setting('client_encoding'),"
            " current_setting('client_min_messages'),"
            " current_setting('standard_conforming_strings'),"
            " current_setting('transaction_isolation'), current_setting('datestyle'),"
            " current_setting('timezone'), current_setting('default_tablespace'),"
            " current_setting('idle_session_timeout'),"
            " current_setting('idle_in_transaction_session_timeout')"
        )
        assert await cursor.fetchone() == (
            bed.server.login,
            "pg_catalog,pg_temp",
            "off",
            "30s",
            "5s",
            "UTF8",
            "notice",
            "on",
            "read committed",
            "ISO, MDY",
            "UTC",
            "",
            "0",
            "5s",
        )


@pytest.mark.parametrize(
    "setting",
    [
        "exit_on_error = on",
        "quote_all_identifiers = on",
        "transaction_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
    ],
)
async def test_work_is_done_whatever_a_database_owner_sets(
    bed: Bed, theirs: tuple[str, str], setting: str
) -> None:
    """Found by setting every setting that an owner may to every kind of value."""
    database, tenant = theirs
    reader = bed.name("reader")
    await bed.create_role(reader)
    await bed.execute(
        "CREATE SCHEMA app",
        "CREATE TABLE app.orders (id int)",
        "CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1'",
        database=database,
    )
    if setting.startswith("transaction_timeout") and bed.server.version_number < 170000:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    async with bed.login(tenant, database) as connection:
        await connection.execute(f"ALTER DATABASE {database} SET {setting}")
    await bed.connections.discard(database)
    tables = securables("table", database, ("gone", "orders"), "app")
    applied = await bed.apply(GrantPrivileges(reader, tables, ("SELECT",)))
    assert [p.path for p in applied.pending] == [f"{database}.app.gone"]
    orders = Securable("table", database, "app", "orders")
    assert await bed.grants(reader, database=database) == {Grant(orders, "SELECT")}
    async with bed.connections.session(database) as ours:
        catalog = await observe_catalog(ours, wanted=everything(database, "app"))
    twice = Securable("function", database, "app", "twice(integer)")
    assert catalog.objects == {orders, twice}


LOGIN_TRIGGER = (
    (
        "CREATE FUNCTION public.nobody() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN RAISE EXCEPTION ''password authentication failed''; END'"
    ),
    "CREATE EVENT TRIGGER nobody ON login EXECUTE FUNCTION public.nobody()",
    "ALTER EVENT TRIGGER nobody ENABLE ALWAYS",
)


async def test_login_trigger_that_fails_is_one_databases_problem(
    bed: Bed, theirs: tuple[str, str], server: PostgresServer
) -> None:
    """Even one that speaks like a server that does not know our password."""
    if bed.server.version_number < LOGIN_TRIGGERS:
        pytest.skip("login triggers came with PostgreSQL 17")
    database, _ = theirs
    await run_as_superuser(server.superuser_dsn, *LOGIN_TRIGGER, database=database)
    with pytest.raises(DatabaseRefused, match="although its server answers"):
        async with bed.connections.session(database):
            pass


async def test_superuser_gets_past_a_login_trigger(
    bed: Bed, theirs: tuple[str, str], server: PostgresServer
) -> None:
    if bed.server.version_number < LOGIN_TRIGGERS:
        pytest.skip("login triggers came with PostgreSQL 17")
    database, _ = theirs
    await run_as_superuser(server.superuser_dsn, *LOGIN_TRIGGER, database=database)
    async with (
        open_bed(server.superuser_dsn) as superuser,
        superuser.connections.session(database) as ours,
    ):
        assert ours.info.dbname == database


async def test_server_that_is_gone_is_no_databases_problem(bed: Bed) -> None:
    dsn = conninfo.make_conninfo(bed.dsn, port="1")
    connections = ServerConnections(parse_dsn(SecretText(dsn), allow_loopback=True))
    with pytest.raises(ServerUnreachable):
        async with connections.session("theirs"):
            pass


@pytest.mark.parametrize("is_disguised", [False, True])
async def test_options_that_a_pooler_drops_are_missed(
    bed: Bed,
    theirs: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_disguised: bool,
) -> None:
    """PgBouncer's ignore_startup_parameters: nothing then beats an owner's settings."""
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        if is_disguised:
            # As good as ours, to the letter.
            await connection.execute(
                "SELECT set_config('search_path', 'pg_catalog,pg_temp', false);"
                f"ALTER DATABASE {database} SET search_path FROM CURRENT;"
                f"ALTER DATABASE {database} SET role = {tenant}"
            )
    whole = Dsn.conninfo

    def without_options(dsn: Dsn, name: str, **_: Any) -> str:
        return conninfo.make_conninfo(whole(dsn, name), options="")

    monkeypatch.setattr(Dsn, "conninfo", without_options)
    with pytest.raises(DatabaseRefused, match="pooler"):
        async with bed.connections.session(database):
            pass


async def test_functions_of_a_database_owner_are_never_called(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        for statement in (
            "CREATE SCHEMA evil",
            "CREATE TABLE evil.calls (who text)",
            "GRANT USAGE ON SCHEMA evil TO PUBLIC",
            "GRANT INSERT ON evil.calls TO PUBLIC",
            evil_aclexplode("INSERT INTO evil.calls VALUES (current_user)"),
            f"ALTER DATABASE {database} SET search_path = evil, pg_catalog",
        ):
            await connection.execute(statement)
    await bed.grant(tenant, "USAGE", database=database, schema="evil")
    await bed.grants(tenant, database=database)
    async with bed.connections.session(database) as ours:
        await observe_catalog(ours, wanted=everything(database, "evil"))
        cursor = await ours.execute("SELECT count(*) FROM evil.calls")
        assert await cursor.fetchone() == (0,)


CALLED = "INSERT INTO public.calls VALUES (current_user)"


async def test_operator_in_public_is_never_called(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    """It fits our queries better than PostgreSQL's own, which takes a cast."""
    database, tenant = theirs
    await bed.execute(
        f"GRANT CREATE, USAGE ON SCHEMA public TO {tenant}", database=database
    )
    async with bed.login(tenant, database) as connection:
        await connection.execute("CREATE TABLE public.calls (who text)")
        await connection.execute("GRANT INSERT ON public.calls TO PUBLIC")
        await connection.execute(
            "CREATE FUNCTION public.same(oid, regclass) RETURNS bool LANGUAGE sql"
            f" AS '{CALLED}; SELECT true'"
        )
        await connection.execute(
            "CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = oid,"
            " RIGHTARG = regclass)"
        )
    await bed.connections.discard(database)
    await bed.grant(tenant, "USAGE", database=database, schema="public")
    await bed.grants(tenant, database=database)
    async with bed.connections.session(database) as ours:
        await observe_catalog(ours, wanted=everything(database, "public"))
        cursor = await ours.execute("SELECT count(*) FROM public.calls")
        assert await cursor.fetchone() == (0,)


async def test_database_that_its_owner_closed_is_refused_by_name_of_the_problem(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, _ = theirs
    await bed.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    with pytest.raises(DatabaseRefused, match="does not accept connections"):
        async with bed.connections.session(database):
            pass


async def test_names_with_quotes_and_statements_in_them_stay_names(bed: Bed) -> None:
    database = bed.name("shop")
    table = 'x"; DROP TABLE app.kept; --'
    role = bed.name("app")
    await bed.create_database(database)
    await bed.create_role(role)
    quoted = table.replace('"', '""')
    await bed.execute(
        "CREATE SCHEMA app",
        "CREATE TABLE app.kept (id int)",
        f'CREATE TABLE app."{quoted}" (id int)',
        database=database,
    )
    applied = await bed.grant(
        role, "SELECT", database=database, schema="app", table=table
    )
    assert applied.pending == ()
    async with bed.connections.session(database) as connection:
        catalog = await observe_catalog(connection, wanted=everything(database, "app"))
    assert catalog.objects == set(securables("table", database, ("kept", table), "app"))


async def test_mark_copied_to_another_role_is_unverified(bed: Bed) -> None:
    mine, copy = bed.name("mine"), bed.name("copy")
    await bed.create_role(mine)
    await bed.create_role(copy)
    comment = await _comment(bed, mine)
    await bed.execute(f"COMMENT ON ROLE {copy} IS '{comment}'")
    assert (await bed.role(copy)).mark == UnverifiedMark()
    assert isinstance((await bed.role(mine)).mark, Mark)


async def test_mark_that_was_changed_is_unverified(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    comment = await _comment(bed, role)
    await bed.execute(f"COMMENT ON ROLE {role} IS '{comment[:-6]}AAAA=='")
    state = await bed.role(role)
    assert (state.mark, state.comment) == (UnverifiedMark(), None)


async def test_mark_of_an_unknown_key_is_unverified(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    other = Keyring.from_secret(Keyring.generate())
    async with bed.connections.session() as connection:
        state = await observe_role(connection, role, keyring=other)
    assert state.mark == UnverifiedMark()


async def test_mark_shows_nothing_of_its_object_to_other_roles(bed: Bed) -> None:
    database, role = bed.name("db"), bed.name("reader")
    await bed.create_database(database)
    await bed.create_role(role)
    claimant = Claimant("owner-id", "Database", "team-secret", "uid-secret", "orders")
    await bed.apply(MarkDatabase(database, Mark(claimant)))
    async with bed.login(role, "postgres") as connection:
        cursor = await connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = %s",
            (database,),
        )
        ((comment,),) = await cursor.fetchall()
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute(f"COMMENT ON DATABASE {database} IS 'mine'")
    assert comment.startswith("managed by pg-operator; do not edit")
    assert "secret" not in comment


async def test_concurrent_marks_of_one_role_leave_one_valid_mark(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    marks = [
        Mark(bed.claimant("DatabaseRole", f"object-{number}")) for number in range(8)
    ]
    await asyncio.gather(*(bed.apply(MarkRole(role, mark)) for mark in marks))
    assert (await bed.role(role)).mark in marks


async def _comment(bed: Bed, role: str) -> str:
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT pg_catalog.shobj_description(%s::regrole, 'pg_authid')", (role,)
        )
        ((comment,),) = await cursor.fetchall()
    return str(comment)


async def test_texts_of_any_length_are_not_read(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, tenant = theirs
    too_long = LONGEST_COMMENT + 1
    async with bed.login(tenant, database) as connection:
        for statement in (
            f"COMMENT ON DATABASE {database} IS %L",
            f"ALTER DATABASE {database} SET application_name TO %L",
            f"ALTER ROLE {tenant} SET application_name TO %L",
        ):
            await connection.execute(
                f"DO $$BEGIN EXECUTE format('{statement}',"
                f" repeat('x', {too_long})); END$$"
            )
    state = await bed.database(database)
    assert (state.mark, state.comment, state.settings) == (None, None, {})
    assert (await bed.role(tenant)).parameters == {}
    async with bed.connections.session() as connection:
        before = await observe_digests(connection)
    await bed.execute(f"ALTER ROLE {tenant} SET work_mem TO '8MB'")
    async with bed.connections.session() as connection:
        after = await observe_digests(connection)
    changed = {place for place in after if after[place] != before.get(place)}
    assert ("DatabaseRole", tenant) in changed
    assert ("Database", database) not in changed


async def test_role_that_is_renamed_while_others_are_looked_at_fails_none(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    database, tenant = theirs
    other = bed.name("other")
    await bed.create_role(other)
    await bed.grant(other, "CONNECT", database=database)
    names = [tenant, other]
    async with bed.connections.session() as connection:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT FROM pg_catalog.pg_roles")
        await bed.execute(f"ALTER ROLE {tenant} RENAME TO {bed.name('new')}")
        holdings = await observe_database_holdings(connection, names)
        dependencies = await observe_dependencies(connection, names)
        await connection.execute("ROLLBACK")
    assert holdings[other].grants == {Grant(Securable("database", database), "CONNECT")}
    assert dependencies[other].granted_in == {database}


async def test_settings_of_any_number_are_not_read(
    bed: Bed, theirs: tuple[str, str], server: PostgresServer
) -> None:
    """A role has settings of its own in each database, however many there are."""
    database, tenant = theirs
    await bed.execute(f"ALTER ROLE {tenant} SET work_mem TO '8MB'")
    before = await bed.role(tenant)
    few = {**BOUNDS, "longest_settings": 4 * LONGEST_SETTING}
    for owner in (f"DATABASE {database}", f"ROLE {tenant}"):
        await run_as_superuser(
            server.superuser_dsn,
            "DO $$BEGIN FOR i IN 1..9 LOOP EXECUTE format("
            f"'ALTER {owner} SET many.s%s TO %L', i,"
            f" repeat('x', {LONGEST_SETTING - len('many.s1=')})); END LOOP; END$$",
        )
    own: dict[str, Any] = {"keyring": bed.keyring, "bounds": few}
    async with bed.connections.session() as connection:
        role = (await observe_roles(connection, [tenant], **own))[tenant]
        state = (await observe_databases(connection, [database], **own))[database]
        hidden = await observe_hidden_settings(connection, bounds=few)
    assert role.mark == before.mark
    seen = {one.name for one in role.parameters}
    assert seen == {"work_mem", "many.s1", "many.s2", "many.s3"}
    assert state.settings.keys() == {f"many.s{i}" for i in range(1, 5)}
    assert hidden["", tenant] == tuple(f"many.s{i}" for i in range(4, 10))
    assert hidden[database, ""] == tuple(f"many.s{i}" for i in range(5, 10))


async def test_more_than_can_be_held_is_not_read(
    bed: Bed, theirs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner makes a hundred thousand functions in seconds."""
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        await connection.execute(
            "CREATE SCHEMA app; CREATE SCHEMA many; CREATE SCHEMA wide;"
            "CREATE TABLE wide.a (); CREATE TABLE wide.b ();"
            "DO $$BEGIN FOR i IN 1..20 LOOP EXECUTE format("
            "'CREATE FUNCTION many.f%s() RETURNS int LANGUAGE sql AS $f$SELECT 1$f$',"
            " i); END LOOP; END$$"
        )
    monkeypatch.setattr(bounds, "MOST_ROWS", 10)
    functions = {Securable("function", database, "many", "*")}
    async with bed.connections.session(database) as connection:
        with pytest.raises(DatabaseTooLarge, match="more than 10 functions"):
            await observe_objects(connection, functions)
        with pytest.raises(DatabaseTooLarge, match="more than 10 privileges"):
            await observe_holdings(connection, tenant, owned_in={"many"})
        # Of each table there are seven or eight.
        with pytest.raises(DatabaseTooLarge, match="more than 10 privileges"):
            await observe_holdings(connection, tenant, owned_in={"wide"})
        # What it owns elsewhere does not count.
        holdings = await observe_holdings(connection, tenant, owned_in={"app"})
    assert holdings.owned == {Securable("schema", database, "app")}
    applied = await bed.grant(tenant, "USAGE", database=database, schema="app")
    assert applied.pending == ()


async def test_more_schemas_than_can_be_held_are_not_read(
    bed: Bed, theirs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, tenant = theirs
    async with bed.login(tenant, database) as connection:
        await connection.execute(
            "DO $$BEGIN FOR i IN 1..20 LOOP"
            " EXECUTE format('CREATE SCHEMA s%1$s CREATE TABLE t ()', i);"
            " END LOOP; END$$"
        )
    monkeypatch.setattr(bounds, "MOST_ROWS", 10)
    async with bed.connections.session(database) as connection:
        with pytest.raises(DatabaseTooLarge, match="more than 10 schemas"):
            await observe_catalog(connection)
        with pytest.raises(DatabaseTooLarge, match="more than 10 schemas"):
            await observe_homes(connection, tenant)


async def test_schema_open_to_everybody_makes_no_creators_of_strangers(
    bed: Bed, theirs: tuple[str, str]
) -> None:
    """Else a tenant's `*` would set default privileges of every role of the server."""
    database, tenant = theirs
    for name in ("stranger", "guest", "writer"):
        await bed.create_role(bed.name(name))
    async with bed.login(tenant, database) as connection:
        await connection.execute(
            f"CREATE SCHEMA app; GRANT CREATE ON SCHEMA app TO PUBLIC, {tenant};"
            f"GRANT CONNECT ON DATABASE {database} TO PUBLIC, {bed.name('guest')};"
            f"GRANT CREATE ON SCHEMA app TO {bed.name('writer')}"
        )
    async with bed.connections.session(database) as connection:
        creators = (await observe_creators(connection, ["app"]))["app"]
    assert creators.everyone == {tenant, bed.name("guest"), bed.name("writer")}
