"""Certificates of a connection Secret: what libpq is told, and what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.issue import issue_authority, issue_leaf
from pg_operator.postgres.errors import InvalidDSN
from pg_operator.postgres.tls import Certificates

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
AUTHORITY = issue_authority(common_name="a CA", now=NOW, lifetime=DAY)
PAIR = issue_leaf(AUTHORITY, dns_names=["db.test"], now=NOW, lifetime=DAY)
CA = {"ca.crt": AUTHORITY.certificate_pem}
CLIENT = {"tls.crt": PAIR.certificate_pem, "tls.key": PAIR.private_key_pem}


def test_secret_without_certificates_asks_for_nothing() -> None:
    none = Certificates.of_secret({"connection": b"host=db.test"})
    assert none.options(None) == {}


def test_server_is_verified_by_the_ca_of_the_secret() -> None:
    certificates = Certificates.of_secret(CA)
    options = certificates.options(None)
    assert options["sslmode"] == "verify-full"
    assert Path(options["sslrootcert"]).read_bytes() == AUTHORITY.certificate_pem


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_server_is_not_verified_without_a_ca(sslmode: str) -> None:
    """The libpq that comes with psycopg does not know the operating system's."""
    with pytest.raises(InvalidDSN, match=r"under key 'ca\.crt'"):
        Certificates().options(sslmode)


def test_client_certificate_is_shown_with_a_key_that_nobody_else_reads() -> None:
    certificates = Certificates.of_secret(CLIENT)
    options = certificates.options("require")
    assert options["sslcertmode"] == "allow"
    assert Path(options["sslcert"]).read_bytes() == PAIR.certificate_pem
    assert Path(options["sslkey"]).read_bytes() == PAIR.private_key_pem
    assert Path(options["sslkey"]).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ca.crt": b"TOPSECRET"}, r"'ca\.crt' of the Secret holds no certificate"),
        ({**CLIENT, "tls.key": b"TOPSECRET"}, r"'tls\.key' .* holds no private key"),
        ({"tls.crt": CLIENT["tls.crt"]}, r"'tls\.crt' but no key 'tls\.key'"),
        ({"tls.key": CLIENT["tls.key"]}, r"'tls\.key' but no key 'tls\.crt'"),
    ],
)
def test_unusable_certificates_are_refused_without_repeating_them(
    data: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InvalidDSN, match=message) as refused:
        Certificates.of_secret(data)
    assert "TOPSECRET" not in str(refused.value)


def test_certificates_show_nothing_in_any_text() -> None:
    assert "PRIVATE" not in repr(Certificates.of_secret(CLIENT))
