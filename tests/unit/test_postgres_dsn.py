"""What a DSN from a Secret may be, and what it must never do."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from pg_operator.api.secret import SecretText
from pg_operator.postgres.dsn import Dsn, drop_libpq_variables, parse_dsn
from pg_operator.postgres.errors import InvalidDSN

GOOD = "host=pg.example.com user=admin password=TOPSECRET"


def parse(text: str, *, allow_loopback: bool = False) -> Dsn:
    return parse_dsn(SecretText(text), allow_loopback=allow_loopback)


def parameters(text: str) -> dict[str, object]:
    return dict(conninfo_to_dict(parse(text).conninfo("postgres")))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://admin:TOPSECRET@pg.example.com:6432/main",
        "postgres://admin:TOPSECRET@pg.example.com:6432/main\n",
        "host=pg.example.com port=6432 user=admin password=TOPSECRET dbname=main\n",
        " host='pg.example.com' port='6432' user=admin password=TOPSECRET dbname=main",
    ],
)
def test_dsn_is_read_in_both_forms_and_stripped(text: str) -> None:
    dsn = parse(text)
    assert (dsn.hosts, dsn.ports) == (("pg.example.com",), (6432,))
    assert (dsn.user, dsn.dbname) == ("admin", "main")


def test_dsn_has_defaults_for_port_and_database() -> None:
    dsn = parse(GOOD)
    assert (dsn.ports, dsn.dbname) == ((5432,), "postgres")


def test_dsn_names_its_host_and_never_its_hostaddr() -> None:
    dsn = parse(f"{GOOD} hostaddr=10.0.0.7")
    assert dsn.hosts == ("pg.example.com",)
    assert conninfo_to_dict(dsn.conninfo("x"))["hostaddr"] == "10.0.0.7"


def test_dsn_of_several_hosts_looks_for_the_primary() -> None:
    text = "host=a.example.com,b.example.com user=admin password=x"
    assert parse(text).ports == (5432, 5432)
    assert parameters(text)["target_session_attrs"] == "primary"
    assert parameters(GOOD)["target_session_attrs"] == "any"


def test_dsn_shows_no_secret_in_any_text() -> None:
    dsn = parse(GOOD)
    assert "TOPSECRET" not in f"{dsn!r}{dsn!s}{dsn}"


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("sslmode", "require"),
        ("require_auth", "scram-sha-256"),
        ("connect_timeout", "5"),
        ("application_name", "pg-operator"),
    ],
)
def test_dsn_has_safe_defaults(option: str, default: str) -> None:
    assert parameters(GOOD)[option] == default


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sslmode", "disable"),
        ("sslmode", "prefer"),
        ("require_auth", "none"),
        ("application_name", "mine"),
    ],
)
def test_dsn_that_says_otherwise_is_followed(option: str, value: str) -> None:
    assert parameters(f"{GOOD} {option}={value}")[option] == value


@pytest.mark.parametrize(
    ("written", "used"), [("3", "3"), ("0", "5"), ("-1", "5"), ("9999", "15")]
)
def test_connect_timeout_is_never_without_end(written: str, used: str) -> None:
    assert parameters(f"{GOOD} connect_timeout={written}")["connect_timeout"] == used


def test_nothing_is_left_for_files_and_the_environment_to_fill() -> None:
    """Else a password file or PGHOSTADDR of the pod would take part."""
    assert {
        "passfile": "/dev/null",
        "gssencmode": "disable",
        "sslcertmode": "disable",
        "client_encoding": "utf8",
    }.items() <= parameters(GOOD).items()
    assert "hostaddr=''" in parse(GOOD).conninfo("postgres")


def test_session_is_pinned_by_start_up_options() -> None:
    options = str(parameters(GOOD)["options"])
    assert "-c search_path=pg_catalog,pg_temp " in options
    assert "-c role=none " in options
    assert r"-c default_transaction_isolation=read\ committed " in options


@pytest.mark.parametrize(
    "option",
    [
        "options='-c role=postgres'",
        "passfile=/etc/passwd",
        "service=other",
        "sslcert=/etc/passwd",
        "sslkey=/etc/passwd",
        "sslrootcert=/etc/passwd",
        "sslcrl=/etc/passwd",
        "sslkeylogfile=/tmp/keys",
        "replication=database",
        "client_encoding=SJIS",
        "gsslib=gssapi",
        "krbsrvname=x",
        "requirepeer=root",
        "oauth_issuer=https://evil.example.com",
    ],
)
def test_option_that_reaches_elsewhere_is_refused_by_its_name(option: str) -> None:
    name = option.partition("=")[0]
    with pytest.raises(InvalidDSN, match=f"may not set {name}$"):
        parse(f"{GOOD} {option}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "TOPSECRET",
        "postgresql://admin:TOPSECRET%zz@pg.example.com/db",
        "postgresql://admin:TOP@SECRET@pg.example.com/db",
        "postgresql://admin:TOP/SECRET@pg.example.com/db",
        "jdbc:postgresql://pg.example.com/db?password=TOPSECRET",
        "postgresql+psycopg://admin:TOPSECRET@pg.example.com/db",
        "host=pg.example.com user=admin TOPSECRET=1",
        "host=pg.example.com user=admin password='TOPSECRET",
        "host='pg.example.com TOPSECRET' user=admin password=x",
        "host=pg.example.com user=admin",
        "user=admin password=TOPSECRET",
        "host=pg.example.com password=TOPSECRET",
        "postgresql:///db?user=admin&password=TOPSECRET",
        "host=/var/run/postgresql user=admin password=TOPSECRET",
        "host=@abstract user=admin password=TOPSECRET",
        "postgresql://admin:TOPSECRET@%2Fvar%2Frun/db",
        "host=pg.example.com port=TOPSECRET user=admin password=x",
        "host=pg.example.com port=70000 user=admin password=TOPSECRET",
        "host=pg.example.com port=1,2 user=admin password=TOPSECRET",
        "host=a.example.com,b.example.com hostaddr=10.0.0.1 user=u password=TOPSECRET",
        "host=a.example.com,,b.example.com user=u password=TOPSECRET",
        "host=pg.example.com connect_timeout=TOPSECRET user=admin password=x",
        "host=pg.example.com user='ad\tmin' password=TOPSECRET",
        "host=pg.example.com user=admin password='TOP\x07SECRET'",
    ],
)
def test_unusable_dsn_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidDSN) as raised:
        parse(text)
    for part in ("TOPSECRET", "TOP", "SECRET", "example", "/var"):
        assert part not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("host", ["/var/run/postgresql", "@abstract"])
def test_unix_socket_is_refused_as_one(host: str) -> None:
    with pytest.raises(InvalidDSN, match="is a unix socket"):
        parse(f"host={host} user=admin password=x")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "db.localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",  # noqa: S104 - refused here, not bound
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ],
)
def test_loopback_is_refused_unless_allowed(host: str) -> None:
    text = f"host={host} user=admin password=x"
    with pytest.raises(InvalidDSN, match="--allow-loopback-servers"):
        parse(text)
    assert parse(text, allow_loopback=True).hosts == (host,)
    address = f"{GOOD} hostaddr={host}"
    with pytest.raises(InvalidDSN, match="--allow-loopback-servers"):
        parse(address)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "224.0.0.1",
    ],
)
def test_metadata_and_link_local_addresses_are_always_refused(host: str) -> None:
    for text in (f"host={host} user=admin password=x", f"{GOOD} hostaddr={host}"):
        with pytest.raises(InvalidDSN, match="metadata"):
            parse(text, allow_loopback=True)


@pytest.mark.parametrize("host", ["10.0.0.7", "192.0.2.10", "2001:db8::7", "db_1.x"])
def test_other_hosts_are_taken(host: str) -> None:
    assert parse(f"host={host} user=admin password=x").hosts == (host,)


def test_password_is_optional_when_the_way_to_authenticate_is_named() -> None:
    assert parse("host=pg.example.com user=admin require_auth=none").user == "admin"


def test_variables_that_fill_gaps_are_removed_and_the_others_stay() -> None:
    environment = {
        "PGSERVICE": "x",
        "PGHOSTADDR": "127.0.0.1",
        "PGOPTIONS": "-c role=x",
        "PGSERVICEFILE": "/etc/passwd",
        "PGOP_PG_BIN": "/usr/bin",
        "PATH": "/usr/bin",
    }
    drop_libpq_variables(environment)
    assert environment == {"PGOP_PG_BIN": "/usr/bin", "PATH": "/usr/bin"}
