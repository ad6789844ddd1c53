"""A PostgreSQL server of our own: SCRAM over TCP on loopback, as a non-root user."""

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from tests.localcluster import postgres_tls
from tests.localcluster.postgres_files import (
    Account,
    server_account,
    server_programs,
    within_reach,
    without_root,
)
from tests.localcluster.probes import wait_until
from tests.localcluster.processes import (
    BedError,
    Component,
    Process,
    Supervisor,
    environment,
    shim,
)

HOST = "127.0.0.1"
# The operator builds Services from the DSN's host and refuses loopback there.
HOST_IN_ADMIN_DSN = "pg.example.test"
ADMIN = "pgop_admin"
SUPERUSER = "postgres"
# A commit still reaches the operating system, so it outlives the server's processes.
EPHEMERAL = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """How a server differs from the fast, throw-away default.

    `durable` keeps fsync on; `tls` lets in only those who use it; `settings` are
    postgresql.conf settings by name, for example `{"log_statement": "all"}`.
    """

    durable: bool = False
    tls: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


class PostgresServer:
    """One running server and its two logins."""

    def __init__(
        self,
        process: Process,
        *,
        supervisor: Supervisor,
        port: int,
        passwords: Mapping[str, str],
        data: Path,
        ca_pem: bytes | None = None,
    ) -> None:
        """Describe the server that `process` runs; `start_postgres` makes one."""
        self.host = HOST
        self.data = data
        self.ca_pem = ca_pem
        self.tls = ca_pem is not None
        self.port = port
        self.superuser_password = passwords[SUPERUSER]
        self.log = process.component.log
        self._name = process.component.name
        self._supervisor = supervisor
        self._passwords = passwords

    @property
    def superuser_dsn(self) -> str:
        """The DSN of the superuser `postgres`."""
        return self._dsn(SUPERUSER, f"host={HOST}")

    @property
    def admin_dsn(self) -> str:
        """The DSN of `pgop_admin`: no superuser, CREATEDB and CREATEROLE."""
        return self._dsn(ADMIN, f"host={HOST_IN_ADMIN_DSN} hostaddr={HOST}")

    def admin_dsn_at(self, address: str) -> str:
        """The DSN of `pgop_admin` at another address that the server listens on."""
        return self._dsn(ADMIN, f"host={address}")

    def _dsn(self, user: str, address: str) -> str:
        return (
            f"{address} port={self.port} user={user}"
            f" password={self._passwords[user]} dbname=postgres"
            f" sslmode={'require' if self.tls else 'disable'}"
        )

    def stop(self, *, grace: float = 15.0) -> None:
        """Shut the server down at once; sessions are cut, data stays."""
        process = self._supervisor.find(self._name)
        if process is not None:
            process.stop(grace=grace)

    def start(self) -> None:
        """Start the stopped server again on the same port and data."""
        process = self._supervisor.restart(self._name)
        wait_for_login(process, self.superuser_dsn)


def start_postgres(
    supervisor: Supervisor,
    *,
    directory: Path,
    log: Path,
    options: PostgresOptions,
    name: str = "postgres",
) -> PostgresServer:
    """Make a data directory under `directory`, start a server on it, add the logins.

    Raises BedError when there are no server programs or the server does not start.
    """
    account = server_account()
    programs = server_programs()
    if account is not None:
        directory, programs = within_reach(directory, programs)
    passwords = {user: secrets.token_urlsafe(24) for user in (SUPERUSER, ADMIN)}
    data = directory / f"{name}-data"
    initdb(programs, data=data, password=passwords[SUPERUSER], account=account)
    settings = server_settings(programs, options)
    ca_pem = None
    if options.tls:
        hosts = [HOST_IN_ADMIN_DSN]
        ca_pem = postgres_tls.require_tls(data, hosts=hosts, account=account)
        settings |= postgres_tls.SETTINGS

    def component(ports: Sequence[int]) -> Component:
        return Component(
            name=name,
            argv=server_command(programs, data=data, port=ports[0], settings=settings),
            log=log,
            address=f"{HOST}:{ports[0]}",
            ready_url=f"tcp://{HOST}:{ports[0]}",
            user=account.ids if account else "",
            # Immediate shutdown, which also lets shared memory go.
            stop_signal=signal.SIGQUIT,
            death_signal=signal.SIGQUIT,
        )

    process = supervisor.start_ready(component, ports=1, timeout=60)
    port = int(process.component.address.rpartition(":")[2])
    server = PostgresServer(
        process,
        supervisor=supervisor,
        port=port,
        passwords=passwords,
        data=data,
        ca_pem=ca_pem,
    )
    wait_for_login(process, server.superuser_dsn)
    create_admin(server.superuser_dsn, password=passwords[ADMIN])
    return server


def initdb(
    programs: Path, *, data: Path, password: str, account: Account | None
) -> None:
    """Make a data directory that asks everyone for a SCRAM password."""
    data.mkdir(parents=True, mode=0o700)
    password_file = data.parent / f"{data.name}.password"
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="utf-8")
    options = ["--parent", str(os.getpid())]
    options += ["--death-signal", str(int(signal.SIGTERM))]
    if account is not None:
        options += ["--user", account.ids]
        for path in (data, password_file):
            os.chown(path, account.uid, account.gid)
    command = [
        *without_root(),
        str(programs / "initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    done = subprocess.run(
        shim(*options, program=command),
        cwd=data.parent,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    password_file.unlink()
    if done.returncode != 0:
        raise BedError(f"initdb failed:\n{done.stdout}{done.stderr}")


def server_settings(programs: Path, options: PostgresOptions) -> dict[str, str]:
    """Return the postgresql.conf settings of a server with these options."""
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    if not options.durable:
        settings |= EPHEMERAL
    if any((programs.parent / "lib").rglob("pg_stat_statements.so")):
        settings |= {
            "shared_preload_libraries": "pg_stat_statements",
            "pg_stat_statements.track": "all",
            "pg_stat_statements.track_utility": "on",
            "pg_stat_statements.max": "20000",
        }
    return settings | dict(options.settings)


def server_command(
    programs: Path, *, data: Path, port: int, settings: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the command line of a server in the foreground."""
    switches = [f"--{name}={value}" for name, value in settings.items()]
    return (
        *without_root(),
        str(programs / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        *switches,
    )


def wait_for_login(process: Process, dsn: str) -> None:
    """Wait until the server takes logins, which is later than connections."""

    def logged_in() -> bool:
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return not process.alive()
        return True

    if not wait_until(logged_in, timeout=60) or not process.alive():
        raise BedError(f"PostgreSQL takes no logins; see {process.component.log}")


def create_admin(dsn: str, *, password: str) -> None:
    """Create the login the operator uses, which is no superuser."""
    statement = sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER CREATEDB CREATEROLE PASSWORD {}"
    ).format(sql.Identifier(ADMIN), sql.Literal(password))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)
