"""Issued certificates: what a strict TLS client accepts, and what never shows."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from certs.issue import KeyPair, issue_authority, issue_leaf

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def authority() -> KeyPair:
    return issue_authority(
        common_name="pg-operator-webhook-ca", now=NOW, lifetime=timedelta(days=730)
    )


def certificate_of(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


def test_leaf_is_accepted_by_a_strict_verifier_for_each_of_its_names(
    authority: KeyPair,
) -> None:
    """The chain satisfies the web PKI profile, the strictest one at hand."""
    names = ["pg-operator-webhook.pg-operator-system.svc", "localhost"]
    leaf = issue_leaf(
        authority,
        dns_names=names,
        ip_addresses=["127.0.0.1"],
        now=NOW,
        lifetime=timedelta(days=90),
    )
    policy = PolicyBuilder().store(Store([certificate_of(authority)])).time(NOW)
    for name in names:
        verifier = policy.build_server_verifier(x509.DNSName(name))
        chain = verifier.verify(certificate_of(leaf), [])
        assert chain == [certificate_of(leaf), certificate_of(authority)]


def test_leaf_serves_only_and_signs_nothing(authority: KeyPair) -> None:
    leaf = certificate_of(
        issue_leaf(
            authority, dns_names=["localhost"], now=NOW, lifetime=timedelta(days=1)
        )
    )
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert usage.critical
    assert not usage.value.key_cert_sign
    assert not constraints.value.ca
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_authority_signs_leaves_but_no_further_authority(authority: KeyPair) -> None:
    extensions = certificate_of(authority).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, usage.critical) == (True, True)
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert usage.value.key_cert_sign


def test_certificates_are_valid_an_hour_before_they_are_issued(
    authority: KeyPair,
) -> None:
    """An API server whose clock is late still accepts them."""
    leaf = issue_leaf(
        authority, dns_names=["localhost"], now=NOW, lifetime=timedelta(days=90)
    )
    for pair in (authority, leaf):
        assert certificate_of(pair).not_valid_before_utc == NOW - timedelta(hours=1)
    assert certificate_of(leaf).not_valid_after_utc == NOW + timedelta(days=90)


def test_leaf_never_outlives_its_authority(authority: KeyPair) -> None:
    leaf = issue_leaf(
        authority, dns_names=["localhost"], now=NOW, lifetime=timedelta(days=9999)
    )
    expected = certificate_of(authority).not_valid_after_utc
    assert certificate_of(leaf).not_valid_after_utc == expected


def test_leaf_names_the_key_that_signed_it(authority: KeyPair) -> None:
    """Two authorities of one name (a rotation) are told apart by key identifier."""
    leaf = issue_leaf(
        authority, dns_names=["localhost"], now=NOW, lifetime=timedelta(days=1)
    )
    signer = certificate_of(leaf).extensions.get_extension_for_class(
        x509.AuthorityKeyIdentifier
    )
    issuer = certificate_of(authority).extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    )
    assert signer.value.key_identifier == issuer.value.digest


def test_serial_numbers_never_repeat(authority: KeyPair) -> None:
    leaves = [
        issue_leaf(authority, dns_names=["a"], now=NOW, lifetime=timedelta(days=1))
        for _ in range(20)
    ]
    assert len({certificate_of(leaf).serial_number for leaf in leaves}) == 20


def test_key_pair_repr_shows_no_key(authority: KeyPair) -> None:
    assert "PRIVATE" not in repr(authority)
    assert "private" not in repr(authority)


def test_long_service_name_is_kept_whole_in_the_alternative_names(
    authority: KeyPair,
) -> None:
    name = ".".join(["pg-operator-webhook", "n" * 63, "svc", "cluster", "local"])
    leaf = issue_leaf(authority, dns_names=[name], now=NOW, lifetime=timedelta(days=1))
    names = certificate_of(leaf).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [name]


@pytest.mark.parametrize(
    ("dns_names", "addresses", "now"),
    [
        pytest.param([], [], NOW, id="no-name-at-all"),
        pytest.param(["a"], ["999.0.0.1"], NOW, id="malformed-address"),
        pytest.param(["a"], [], NOW.replace(tzinfo=None), id="naive-time"),
        pytest.param(["a"], [], NOW + timedelta(days=800), id="authority-expired"),
    ],
)
def test_leaf_refuses_what_no_client_would_accept(
    authority: KeyPair, dns_names: list[str], addresses: list[str], now: datetime
) -> None:
    with pytest.raises(ValueError, match=r"must|expired|address"):
        issue_leaf(
            authority,
            dns_names=dns_names,
            ip_addresses=addresses,
            now=now,
            lifetime=timedelta(days=1),
        )


def test_leaf_and_key_load_into_a_server_context(
    authority: KeyPair, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    leaf = issue_leaf(
        authority, dns_names=["localhost"], now=NOW, lifetime=timedelta(days=1)
    )
    (folder / "tls.crt").write_bytes(leaf.certificate_pem)
    (folder / "tls.key").write_bytes(leaf.private_key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    assert context.cert_store_stats()["x509"] == 0
