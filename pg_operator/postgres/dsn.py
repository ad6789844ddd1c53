"""Reads the DSN of a connection Secret: an allow-list, and nothing from elsewhere.

A DSN comes from a Secret, and libpq would let it read files, write files, open any
socket, change the role, and fill its gaps from the environment and the home directory.
"""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg import conninfo, pq

from pg_operator.api.secret import SecretText
from pg_operator.postgres.errors import InvalidDSN
from pg_operator.postgres.hosts import check_address, check_host
from pg_operator.postgres.tls import Certificates

DEFAULT_PORT: Final = 5432
DEFAULT_DATABASE: Final = "postgres"
CONNECT_TIMEOUT: Final = 5  # seconds, for each host
MAX_CONNECT_TIMEOUT: Final = 15

_ALLOWED: Final = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "password",
        "port",
        "require_auth",
        "ssl_min_protocol_version",
        "sslmode",
        "sslnegotiation",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)

# What a database owner can set for every session, ours included (ALTER DATABASE SET),
# and what would turn our queries against us; start-up options beat those settings.
SESSION: Final[Mapping[str, str]] = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "local_preload_libraries": "",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_tablespace": "",
    "datestyle": "ISO",
    "timezone": "UTC",
    "client_min_messages": "notice",
    "standard_conforming_strings": "on",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "0",
    # It would end the session at the first error that a savepoint is there for.
    "exit_on_error": "off",
    "quote_all_identifiers": "off",
}

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """Where a server is and how to log in; its repr holds no secret.

    `hosts` are as written in `host`, never `hostaddr`: what a Service is built from.
    """

    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    user: str
    dbname: str
    connect_timeout: int
    _parameters: Mapping[str, str]
    # They are there for as long as the DSN is.
    _certificates: Certificates = field(default_factory=Certificates)

    @property
    def address(self) -> tuple[object, ...]:
        """Where it leads: those with equal ones lead to the same place."""
        return self.hosts, self.ports, self._parameters.get("hostaddr")

    @property
    def sslmode(self) -> str:
        """How TLS is asked for, as the DSN says or by default."""
        return self._parameters["sslmode"]

    @property
    def ca(self) -> str | None:
        """The certificates in PEM that the server is believed by, if any are given."""
        return self._certificates.ca

    def conninfo(
        self, database: str, *, session: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        """Return libpq's connection string for one database, password included.

        `session` has further settings to start with; a server that does not know one
        refuses the connection.
        """
        further = "".join(f" -c {name}={value}" for name, value in session.items())
        changes = {"dbname": database, "options": self._parameters["options"] + further}
        return conninfo.make_conninfo(**{**self._parameters, **changes})

    def __repr__(self) -> str:
        return f"Dsn(hosts={self.hosts}, ports={self.ports}, dbname={self.dbname!r})"


def parse_dsn(
    raw: SecretText,
    *,
    allow_loopback: bool = False,
    certificates: Certificates | None = None,
) -> Dsn:
    """Parse a libpq URI or key=value string from a Secret.

    Options that we do not allow, unix sockets, and loopback, link-local and metadata
    addresses are refused; `allow_loopback` lets loopback through, for local clusters.
    TLS (sslmode=require, with a CA verify-full) and SCRAM (require_auth=scram-sha-256)
    are the default, and what the DSN says instead is kept. A server in recovery can be
    connected to, so that it can be reported; of several hosts the primary is looked
    for.

    Raises:
        InvalidDSN: with a text that repeats nothing of the DSN but the names of
            options that libpq knows.
    """
    given = _read(raw.reveal().strip())
    hosts = _split(given.get("host", ""))
    if not any(hosts):
        raise InvalidDSN("the DSN names no host")
    if not given.get("user"):
        raise InvalidDSN("the DSN names no user")
    if not given.get("password") and "require_auth" not in given:
        raise InvalidDSN(
            "the DSN has no password; if the server asks for none,"
            " set require_auth to what it does ask for"
        )
    for host in hosts:
        check_host(host)
    for address in (*hosts, *_split(given.get("hostaddr", ""))):
        check_address(address, allow_loopback=allow_loopback)
    ports = _ports(given.get("port"), hosts=len(hosts))
    if "hostaddr" in given and len(_split(given["hostaddr"])) != len(hosts):
        raise InvalidDSN("the DSN must name as many hostaddr as host")
    certificates = certificates or Certificates()
    timeout = _connect_timeout(given.get("connect_timeout"))
    dbname = given.get("dbname") or DEFAULT_DATABASE
    return Dsn(
        hosts=hosts,
        ports=ports,
        user=given["user"],
        dbname=dbname,
        connect_timeout=timeout,
        _parameters={
            **_defaults(several_hosts=len(hosts) > 1),
            **certificates.options(given.get("sslmode")),
            **given,
            "port": ",".join(map(str, ports)),
            "dbname": dbname,
            "connect_timeout": str(timeout),
        },
        _certificates=certificates,
    )


def drop_libpq_variables(environment: MutableMapping[str, str]) -> None:
    """Remove what libpq would fill gaps with; PGSERVICE cannot be overridden."""
    for name in [name for name in environment if name.startswith("PG")]:
        if name.encode() in _libpq_variables():
            del environment[name]


def _libpq_variables() -> frozenset[bytes]:
    """Return the environment variables that this libpq reads options from."""
    known = {option.envvar for option in pq.Conninfo.get_defaults() if option.envvar}
    return frozenset(known | {b"PGSERVICEFILE", b"PGSYSCONFDIR", b"PGREQUIRESSL"})


def _read(text: str) -> dict[str, str]:
    """Parse the text and hold it against the allow-list."""
    if not text:
        raise InvalidDSN("the DSN is empty")
    if text.startswith("jdbc:"):
        raise InvalidDSN("a JDBC address is no DSN; write postgresql://user:…@host/db")
    if re.match(r"postgres(ql)?\+\w+:", text):
        raise InvalidDSN("write postgresql:// without the name of a driver")
    try:
        parsed = conninfo.conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError):
        # The parser's own text quotes the input.
        parsed = None
    if parsed is None:
        raise InvalidDSN(
            "the DSN is neither a postgresql:// URI nor a list of key=value of libpq's"
            " options; in a URI write special characters of the password as %XX"
        )
    given = {key: str(value) for key, value in parsed.items() if value is not None}
    if refused := sorted(given.keys() - _ALLOWED):
        raise InvalidDSN(f"the DSN may not set {', '.join(refused)}")
    for key, value in given.items():
        if _CONTROL.search(value):
            raise InvalidDSN(f"the DSN's {key} has a control character in it")
    return {key: value for key, value in given.items() if value}


def _defaults(*, several_hosts: bool) -> dict[str, str]:
    """Return what holds unless the DSN says otherwise, and what it cannot say."""
    return {
        "application_name": "pg-operator",
        "channel_binding": "prefer",
        "client_encoding": "utf8",
        "gssencmode": "disable",
        # An empty value keeps PGHOSTADDR and PGPASSWORD from filling the gap.
        "hostaddr": "",
        "keepalives_count": "3",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "load_balance_hosts": "disable",
        "options": " ".join(
            f"-c {name}={value}".replace("read committed", r"read\ committed")
            for name, value in SESSION.items()
        ),
        "passfile": "/dev/null",
        "password": "",
        "require_auth": "scram-sha-256",
        "sslcertmode": "disable",
        "sslmode": "require",
        "target_session_attrs": "primary" if several_hosts else "any",
        "tcp_user_timeout": "20000",
    }


def _split(value: str) -> tuple[str, ...]:
    return tuple(value.split(",")) if value else ()


def _ports(value: str | None, *, hosts: int) -> tuple[int, ...]:
    """Return one port for each host."""
    words = _split(value) if value else (str(DEFAULT_PORT),)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InvalidDSN("the DSN's port is not a number")
    ports = tuple(int(word) for word in words)
    if not all(0 < port < 65536 for port in ports):
        raise InvalidDSN("the DSN's port is not between 1 and 65535")
    if len(ports) == 1:
        return ports * hosts
    if len(ports) != hosts:
        raise InvalidDSN("the DSN must name one port, or one for each host")
    return ports


def _connect_timeout(value: str | None) -> int:
    """Return seconds; libpq takes 0 for "for ever", which would hold a worker."""
    if value is None:
        return CONNECT_TIMEOUT
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise InvalidDSN("the DSN's connect_timeout is not a number")
    seconds = int(value)
    return min(seconds, MAX_CONNECT_TIMEOUT) if seconds > 0 else CONNECT_TIMEOUT
