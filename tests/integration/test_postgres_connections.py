"""Connections to a real server: how many, whose turn, and what failures say."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import Error, OperationalError, conninfo

from certs.issue import issue_authority
from pg_operator.api.secret import SecretText
from pg_operator.plan.operations import DropDatabase
from pg_operator.postgres import connect
from pg_operator.postgres.connect import (
    ServerConnections,
)
from pg_operator.postgres.connection import Connection, open_connection
from pg_operator.postgres.dsn import Dsn, parse_dsn
from pg_operator.postgres.errors import (
    AuthenticationFailed,
    DatabaseRefused,
    PostgresError,
    Rejected,
    ServerRefused,
    ServerUnreachable,
    Transient,
)
from pg_operator.postgres.observe import observe_server
from pg_operator.postgres.tls import Certificates
from pg_operator.postgres.writing import writing_session
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser
from tests.localcluster.postgres import PostgresServer

CLEAR_PASSWORD = 3  # PostgreSQL's AuthenticationCleartextPassword


def connections_to(
    dsn: str, changes: Mapping[str, str] | None = None, *, max_connections: int = 4
) -> ServerConnections:
    raw = SecretText(conninfo.make_conninfo(dsn, **(changes or {})))
    return ServerConnections(
        parse_dsn(raw, allow_loopback=True), max_connections=max_connections
    )


async def open_sessions(bed: Bed) -> int:
    """Count the operator's sessions on the server, the one that counts left out."""
    async with bed.connections.session() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
            " AND application_name = %s AND pid <> pg_backend_pid()",
            (bed.prefix,),
        )
        ((number,),) = await cursor.fetchall()
    return int(number)


async def test_server_is_observed_with_what_the_login_may_do(bed: Bed) -> None:
    server = bed.server
    assert server.login == "pgop_admin"
    assert (server.superuser, server.create_role, server.create_database) == (
        False,
        True,
        True,
    )
    assert server.in_recovery is False
    assert server.version_number // 10000 == int(server.version.split(".")[0])
    assert server.system_identifier.isdigit()
    async with bed.connections.session() as connection:
        assert await observe_server(connection) == server


async def test_connections_never_exceed_the_limit_over_many_databases(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = [bed.name(f"db{number}") for number in range(4)]
    for database in databases:
        await bed.create_database(database)
    opened: list[Connection] = []

    async def open_and_remember(
        dsn: Dsn, database: str, *, session: Mapping[str, str]
    ) -> Connection:
        opened.append(await open_connection(dsn, database, session=session))
        return opened[-1]

    monkeypatch.setattr(connect, "open_connection", open_and_remember)
    connections = connections_to(bed.dsn, max_connections=2)
    seen = []

    async def visit(database: str) -> None:
        async with connections.session(database) as connection:
            assert connection.info.dbname == database
            seen.append(sum(not one.closed for one in opened))
            await connection.execute("SELECT 1")

    await asyncio.gather(*(visit(database) for database in databases * 3))
    assert len(seen) == 12
    assert max(seen) <= 2
    await connections.close()


async def test_connection_is_used_again_for_the_same_database(bed: Bed) -> None:
    async with bed.connections.session() as first:
        pid = first.info.backend_pid
    async with bed.connections.session() as second:
        assert second.info.backend_pid == pid


async def test_connection_to_the_dsn_database_is_the_last_to_make_room(
    bed: Bed,
) -> None:
    databases = [bed.name(f"db{number}") for number in range(2)]
    for database in databases:
        await bed.create_database(database)
    connections = connections_to(bed.dsn, max_connections=2)
    async with connections.session() as connection:
        pid = connection.info.backend_pid
    for database in databases:
        async with connections.session(database):
            pass
    async with connections.session() as connection:
        assert connection.info.backend_pid == pid
    await connections.close()


async def test_those_who_wait_are_served_in_order(bed: Bed) -> None:
    connections = connections_to(bed.dsn, max_connections=1)
    served = []

    async def wait(number: int) -> None:
        async with connections.session():
            served.append(number)

    async with connections.session():
        waiting = [asyncio.create_task(wait(number)) for number in range(5)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert served == [0, 1, 2, 3, 4]
    await connections.close()


async def test_idle_connection_that_the_server_ended_is_replaced(
    bed: Bed, server: PostgresServer
) -> None:
    async with bed.connections.session() as connection:
        pid = connection.info.backend_pid
    await run_as_superuser(
        server.superuser_dsn, f"SELECT pg_terminate_backend({pid}, 5000)"
    )
    async with bed.connections.session() as connection:
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)


@pytest.mark.parametrize(
    ("just_now", "asked"), [(600.0, "SELECT 'last'"), (0.0, "SELECT")]
)
async def test_connection_is_asked_whether_it_lives_unless_it_was_used_just_now(
    bed: Bed,
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    just_now: float,
    asked: str,
) -> None:
    monkeypatch.setattr(connect, "JUST_NOW", just_now)
    async with bed.connections.session() as connection:
        await connection.execute("SELECT 'last'")
    async with (
        open_bed(server.superuser_dsn) as other,
        bed.connections.session() as connection,
        other.connections.session() as watching,
    ):
        cursor = await watching.execute(
            "SELECT query FROM pg_stat_activity WHERE pid = %(pid)s",
            {"pid": connection.info.backend_pid},
        )
        assert await cursor.fetchall() == [(asked,)]


async def test_connection_that_breaks_in_use_is_reported_and_given_up(
    bed: Bed, server: PostgresServer
) -> None:
    async def break_it() -> None:
        async with bed.connections.session() as connection:
            pid = connection.info.backend_pid
            await run_as_superuser(
                server.superuser_dsn, f"SELECT pg_terminate_backend({pid}, 5000)"
            )
            await connection.execute("SELECT 1")

    with pytest.raises(ServerUnreachable):
        await break_it()
    async with bed.connections.session() as connection:
        await connection.execute("SELECT 1")


async def test_session_that_ends_in_another_database_says_nothing_of_the_server(
    bed: Bed, server: PostgresServer
) -> None:
    """Its owner or a DROP DATABASE ends it: the next connect tells what is left."""
    name = bed.name("db")
    await bed.create_database(name)

    async def break_it() -> None:
        async with bed.connections.session(name) as connection:
            pid = connection.info.backend_pid
            await run_as_superuser(
                server.superuser_dsn, f"SELECT pg_terminate_backend({pid}, 5000)"
            )
            await connection.execute("SELECT 1")

    with pytest.raises(Transient):
        await break_it()
    async with bed.connections.session(name) as connection:
        await connection.execute("SELECT 1")


async def test_work_in_a_database_that_is_dropped_meanwhile_is_transient(
    bed: Bed,
) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    inside = asyncio.Event()

    async def work() -> None:
        async with bed.connections.session(name) as connection:
            inside.set()
            await connection.execute("SELECT pg_catalog.pg_sleep(60)")

    working = asyncio.create_task(work())
    await inside.wait()
    await bed.apply(DropDatabase(name))
    with pytest.raises(Transient):
        await working
    with pytest.raises(DatabaseRefused, match="does not exist"):
        async with bed.connections.session(name):
            pass


async def test_cancelled_statement_frees_its_place(bed: Bed) -> None:
    connections = connections_to(bed.dsn, max_connections=1)
    started = asyncio.Event()

    async def sleep() -> None:
        async with connections.session() as connection:
            started.set()
            await connection.execute("SELECT pg_catalog.pg_sleep(60)")

    task = asyncio.create_task(sleep())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with connections.session() as connection:
        await connection.execute("SELECT 1")
    await connections.close()


async def test_idle_connections_are_closed_before_their_database_is_dropped(
    bed: Bed,
) -> None:
    name = bed.name("db")
    await bed.create_database(name)
    async with bed.connections.session(name):
        pass
    await bed.connections.discard(name)
    await bed.apply(DropDatabase(name))
    with pytest.raises(DatabaseRefused, match="does not exist"):
        async with bed.connections.session(name):
            pass


async def test_idle_connections_are_closed_on_request(bed: Bed) -> None:
    connections = connections_to(bed.dsn, {"application_name": bed.prefix})
    async with connections.session():
        pass
    await connections.close_idle(older_than=3600)
    assert await open_sessions(bed) == 1
    await connections.close_idle(older_than=0)
    while await open_sessions(bed):
        pass
    await connections.close()


async def test_closed_connections_lend_nothing(bed: Bed) -> None:
    connections = connections_to(bed.dsn)
    await connections.close()
    with pytest.raises(Transient):
        async with connections.session():
            pass


async def test_connections_that_close_during_a_connect_lend_nothing(bed: Bed) -> None:
    connections = connections_to(bed.dsn)

    async def work() -> None:
        async with connections.session():
            pytest.fail("nothing leads to this server any more")

    connecting = asyncio.create_task(work())
    await asyncio.sleep(0)
    await connections.replace()
    with pytest.raises(Transient):
        await connecting


async def test_connections_to_one_server_are_given_up_together(bed: Bed) -> None:
    old, new = connections_to(bed.dsn), connections_to(bed.dsn)
    new.join(old)
    async with old.session() as connection:
        await old.close()
        await new.give_up()
        with pytest.raises(OperationalError):
            await connection.execute("SELECT")


async def test_connect_that_fails_on_a_replaced_server_blames_no_server(
    bed: Bed,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connections = connections_to(bed.dsn, {"port": str(silent.getsockname()[1])})
        connecting = asyncio.create_task(connections.session().__aenter__())
        await asyncio.sleep(0)
        await connections.replace()
    with pytest.raises(Transient):
        await connecting


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"password": "TOPSECRET"}, AuthenticationFailed),
        ({"user": "nobody_TOPSECRET"}, AuthenticationFailed),
        ({"dbname": "none_TOPSECRET"}, DatabaseRefused),
        ({"require_auth": "md5"}, AuthenticationFailed),
        ({"port": "1"}, ServerUnreachable),
        ({"host": "none.invalid", "hostaddr": ""}, ServerUnreachable),
        (
            {
                "host": "one.example.test,two.example.test",
                "hostaddr": "127.0.0.1,127.0.0.1",
                "target_session_attrs": "standby",
            },
            (ServerUnreachable, ServerRefused),
        ),
    ],
)
async def test_failed_connect_says_what_and_shows_nothing(
    bed: Bed,
    changes: dict[str, str],
    error: type[PostgresError] | tuple[type[PostgresError], ...],
) -> None:
    connections = connections_to(bed.dsn, changes)
    with pytest.raises(error) as raised:
        async with connections.session():
            pass
    text = repr(raised.value) + str(raised.value)
    for secret in ("TOPSECRET", "127.0.0.1", "pgop_admin", "example", "invalid"):
        assert secret not in text
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


async def test_session_is_encrypted_or_there_is_none(
    bed: Bed, server: PostgresServer
) -> None:
    """A server without TLS is not talked to when the DSN asks for it."""
    connections = connections_to(bed.dsn, {"sslmode": "require"})
    if not server.tls:
        with pytest.raises(ServerUnreachable, match="has no TLS"):
            async with connections.session():
                pass
        return
    async with connections.session() as connection:
        cursor = await connection.execute(
            "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        assert await cursor.fetchone() == (True,)
    await connections.close()
    with pytest.raises(AuthenticationFailed, match=r"pg_hba\.conf"):
        async with connections_to(bed.dsn, {"sslmode": "disable"}).session():
            pass


async def enter_verified(
    dsn: str, ca_pem: bytes, changes: Mapping[str, str] | None = None
) -> None:
    """Connect with a CA, and with the DSN's own sslmode only if it is in `changes`."""
    raw = conninfo.make_conninfo(dsn, **{"sslmode": "", **(changes or {})})
    connections = ServerConnections(
        parse_dsn(
            SecretText(raw),
            allow_loopback=True,
            certificates=Certificates.of_secret({"ca.crt": ca_pem}),
        )
    )
    async with connections.session():
        pass
    await connections.close()


async def test_server_proves_its_name_when_there_is_a_ca(
    bed: Bed, server: PostgresServer
) -> None:
    if server.ca_pem is None:
        pytest.skip("the server has no TLS")
    await enter_verified(bed.dsn, server.ca_pem)
    elsewhere = {"host": "other.example.test"}
    with pytest.raises(ServerUnreachable, match="for another host"):
        await enter_verified(bed.dsn, server.ca_pem, elsewhere)
    lax = {**elsewhere, "sslmode": "verify-ca"}
    await enter_verified(bed.dsn, server.ca_pem, lax)


async def test_server_that_another_ca_signed_is_not_believed(
    bed: Bed, server: PostgresServer
) -> None:
    if server.ca_pem is None:
        pytest.skip("the server has no TLS")
    another = issue_authority(
        common_name="another", now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    with pytest.raises(ServerUnreachable, match="cannot be verified"):
        await enter_verified(bed.dsn, another.certificate_pem)


def client_certificate(name: str) -> dict[str, bytes]:
    """Return a Secret's data: a certificate that is signed by itself, and its key."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return {
        "tls.crt": certificate.public_bytes(serialization.Encoding.PEM),
        "tls.key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    }


async def test_certificate_is_shown_to_a_server_that_asks_for_one(
    bed: Bed, server: PostgresServer
) -> None:
    if server.ca_pem is None:
        pytest.skip("the server has no TLS")
    secret = client_certificate("pg-operator")
    (server.data / "clients.crt").write_bytes(secret["tls.crt"])
    await run_as_superuser(
        server.superuser_dsn,
        "ALTER SYSTEM SET ssl_ca_file = 'clients.crt'",
        "SELECT pg_reload_conf()",
    )
    dsn = parse_dsn(
        SecretText(bed.dsn),
        allow_loopback=True,
        certificates=Certificates.of_secret(secret),
    )

    async def shown() -> str | None:
        connections = ServerConnections(dsn)
        async with connections.session() as connection:
            cursor = await connection.execute(
                "SELECT client_dn FROM pg_catalog.pg_stat_ssl"
                " WHERE pid = pg_backend_pid()"
            )
            ((name,),) = await cursor.fetchall()
        await connections.close()
        return None if name is None else str(name)

    while (name := await shown()) is None:
        pass  # it reloads when it gets to it
    assert name == "/CN=pg-operator"
    await run_as_superuser(
        server.superuser_dsn,
        "ALTER SYSTEM RESET ssl_ca_file",
        "SELECT pg_reload_conf()",
    )


async def test_password_is_not_given_to_who_asks_for_it_in_clear(bed: Bed) -> None:
    """Whoever answers at the DSN's address would have it."""
    heard = bytearray()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(length - 4)
        writer.write(b"R" + struct.pack("!II", 8, CLEAR_PASSWORD))
        heard.extend(await reader.read())
        writer.close()

    thief = await asyncio.start_server(ask, "127.0.0.1", 0)
    port = thief.sockets[0].getsockname()[1]
    changes = {"port": str(port), "sslmode": "disable", "password": "TOPSECRET"}
    async with thief:
        with pytest.raises(AuthenticationFailed, match="require_auth does not allow"):
            async with connections_to(bed.dsn, changes).session():
                pass
        thief.close()
        await thief.wait_closed()
    assert b"TOPSECRET" not in heard


async def test_server_that_accepts_and_says_nothing_is_given_up(bed: Bed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        # A shorter time is longer for libpq.
        changes = {"port": str(port), "connect_timeout": "2"}
        with pytest.raises(ServerUnreachable, match="does not answer"):
            async with connections_to(bed.dsn, changes).session():
                pass


async def test_login_without_a_free_connection_is_no_wrong_password(
    bed: Bed, server: PostgresServer
) -> None:
    login = bed.name("busy")
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {login} LOGIN CONNECTION LIMIT 1 PASSWORD 'weak'",
    )
    connections = connections_to(bed.dsn, {"user": login, "password": "weak"})
    async with connections.session():
        with pytest.raises(ServerRefused, match="connection limit"):
            async with connections.session():
                pass
    await connections.close()


# The server counts a session until its process has ended, which takes a while.
SLOW_TO_END: Final = (
    "DO $$ BEGIN FOR number IN 1..300 LOOP EXECUTE"
    " 'CREATE TEMPORARY TABLE t' || number || ' (id int)';"
    " END LOOP; END $$"
)


async def connections_of_one(
    bed: Bed, server: PostgresServer, database: str
) -> ServerConnections:
    """Return the connections of a login that may have one, also to a new database."""
    login = bed.name("few")
    await bed.create_database(database)
    await run_as_superuser(
        server.superuser_dsn,
        f"CREATE ROLE {login} LOGIN CONNECTION LIMIT 1 PASSWORD 'weak'",
        f"GRANT ALL ON DATABASE {database} TO {login}",
    )
    change = {"user": login, "password": "weak"}
    return connections_to(bed.dsn, change, max_connections=1)


async def test_login_needs_no_more_connections_than_are_made(
    bed: Bed, server: PostgresServer
) -> None:
    shop = bed.name("shop")
    connections = await connections_of_one(bed, server, shop)
    for database in ("postgres", shop) * 3:
        async with connections.session(database) as connection:
            await connection.execute(SLOW_TO_END)
    await connections.close()


async def test_connection_that_is_being_closed_counts_until_it_has_ended(
    bed: Bed, server: PostgresServer
) -> None:
    shop = bed.name("shop")
    connections = await connections_of_one(bed, server, shop)
    async with connections.session(shop) as connection:
        await connection.execute(SLOW_TO_END)
    closing = asyncio.create_task(connections.discard(shop))
    await asyncio.sleep(0)
    async with connections.session("postgres") as connection:
        await connection.execute("SELECT")
    await closing
    await connections.close()


async def test_statement_that_takes_too_long_is_no_lost_connection(bed: Bed) -> None:
    async with bed.connections.session() as connection:
        pid = connection.info.backend_pid
        await connection.execute("SET statement_timeout TO '1ms'")
    with pytest.raises(Rejected, match="statement timeout"):
        async with bed.connections.session() as connection:
            await connection.execute("SELECT pg_catalog.pg_sleep(60)")
    async with bed.connections.session() as connection:
        await connection.execute("SET statement_timeout TO '30s'")
        assert connection.info.backend_pid == pid


async def test_transaction_that_is_lost_is_begun_again(bed: Bed) -> None:
    """To go on in it would end in a COMMIT that PostgreSQL takes for a ROLLBACK."""

    async def go_on(statement: str) -> None:
        async with bed.connections.session() as connection:
            await connection.execute("BEGIN")
            with suppress(Error):
                await connection.execute("SELECT 1/0")
            await connection.execute(statement)

    for statement in ("SELECT 1", "ROLLBACK TO SAVEPOINT nowhere"):
        with pytest.raises(Transient, match="tried again"):
            await go_on(statement)


async def test_value_that_cannot_be_sent_is_no_lost_connection(bed: Bed) -> None:
    with pytest.raises(Rejected):
        async with bed.connections.session() as connection:
            await connection.execute("SELECT %s", ("nul \0",))


async def test_failed_writing_session_leaves_nothing(bed: Bed) -> None:
    role = bed.name("app")

    async def fail() -> None:
        async with (
            bed.connections.session() as connection,
            writing_session(
                connection,
                locks=("role:x", "database:y"),
                fence=bed.connections.fence,
            ),
        ):
            await connection.execute(f"CREATE ROLE {role}")
            raise Rejected("on purpose")

    with pytest.raises(Rejected, match="on purpose"):
        await fail()
    assert not (await bed.role(role)).exists


async def test_writing_sessions_with_a_common_lock_exclude_each_other(
    bed: Bed,
) -> None:
    inside = 0

    async def write(*locks: str) -> None:
        nonlocal inside
        async with (
            bed.connections.session() as connection,
            writing_session(connection, locks=locks, fence=bed.connections.fence),
        ):
            inside += 1
            await connection.execute("SELECT 1")
            assert inside == 1
            inside -= 1

    await asyncio.gather(
        *(write("common", f"own-{number}") for number in range(5)),
        *(write(f"z-{number}", "common") for number in range(5)),
    )


async def test_another_server_at_the_same_address_is_not_worked_on(bed: Bed) -> None:
    """Its name may lead elsewhere by the time that a connection is made again."""
    bed.connections.expect(bed.server.system_identifier)
    async with bed.connections.session() as connection:
        await connection.execute("SELECT")
    await bed.connections.close_idle(older_than=0)
    bed.connections.expect("1")
    with pytest.raises(ServerUnreachable, match="another server"):
        async with bed.connections.session():
            pass


async def test_who_may_visit_the_operators_own_database_is_observed(
    bed: Bed, superuser_dsn: str
) -> None:
    ops, guest = bed.name("ops"), bed.name("guest")
    await run_as_superuser(
        superuser_dsn,
        f"CREATE DATABASE {ops}",
        f"CREATE ROLE {guest}",
        f"GRANT CONNECT ON DATABASE {ops} TO {guest}, pgop_admin",
    )
    dsn = conninfo.make_conninfo(bed.dsn, dbname=ops)
    async with open_bed(dsn) as there:
        assert there.server.visitors == ("PUBLIC", guest)
    await run_as_superuser(
        superuser_dsn,
        f"REVOKE CONNECT ON DATABASE {ops} FROM PUBLIC, {guest}",
    )
    async with open_bed(dsn) as there:
        assert there.server.visitors == ()
