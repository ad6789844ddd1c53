"""Issue an authority and the serving certificates it signs. Pure: no file, no clock.

ECDSA P-256 throughout. A serving certificate and its authority are separate on
purpose: a leaf can then be renewed without touching any client's trust bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The clocks of the API server and of this machine may differ.
CLOCK_SKEW = timedelta(hours=1)

# RFC 5280, ub-common-name.
COMMON_NAME_LIMIT = 64


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its unencrypted PKCS#8 private key, both PEM."""

    certificate_pem: bytes
    private_key_pem: bytes = field(repr=False)


def issue_authority(*, common_name: str, now: datetime, lifetime: timedelta) -> KeyPair:
    """Issue a self-signed authority that may sign leaves only (pathlen 0).

    `now` must be timezone-aware; the certificate is valid from one hour before it
    until `now + lifetime`. Raises ValueError for an unusable name or time.
    """
    _require_aware(now)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name)
    builder = (
        _builder(
            subject=subject, issuer=subject, key=key, now=now, until=now + lifetime
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    return _key_pair(builder.sign(key, hashes.SHA256()), key)


def issue_leaf(
    authority: KeyPair,
    *,
    dns_names: Sequence[str],
    ip_addresses: Sequence[str] = (),
    now: datetime,
    lifetime: timedelta,
) -> KeyPair:
    """Issue a serving certificate for the given names and addresses.

    It never outlives its authority. Raises ValueError when neither a name nor an
    address is given, when an address is malformed, or when `authority` has expired;
    TypeError when the authority was not issued by `issue_authority`.
    """
    _require_aware(now)
    names = _alternative_names(dns_names, ip_addresses)
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
    issuer_key = serialization.load_pem_private_key(
        authority.private_key_pem, password=None
    )
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's private key must be an ECDSA key")
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + lifetime, issuer.not_valid_after_utc)
    builder = (
        _builder(
            subject=_name([*dns_names, *ip_addresses][0]),
            issuer=issuer.subject,
            key=key,
            now=now,
            until=until,
        )
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(_authority_key_identifier(issuer), critical=False)
    )
    return _key_pair(builder.sign(issuer_key, hashes.SHA256()), key)


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    """Start with what all our certificates have: names, times, serial, key id."""
    if until <= now:
        raise ValueError("the certificate would be expired from the start")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
    )


def _require_aware(now: datetime) -> None:
    if now.tzinfo is None:
        raise ValueError("the time of issue must be timezone-aware")


def _name(common_name: str) -> x509.Name:
    # A name too long for the field is cut: clients look at the alternative names.
    value = common_name[:COMMON_NAME_LIMIT]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])


def _alternative_names(
    dns_names: Sequence[str], ip_addresses: Sequence[str]
) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ip_address(address)) for address in ip_addresses]
    if not names:
        raise ValueError("a serving certificate must have a DNS name or an IP address")
    return x509.SubjectAlternativeName(names)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _key_pair(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> KeyPair:
    return KeyPair(
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
