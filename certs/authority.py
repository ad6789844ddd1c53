"""An authority of our own and its succession. Pure: no I/O, no clock.

A new authority is trusted before it signs anything, and an old one for as long as
something that it signed may still be served: at no moment is a certificate served that
a client does not trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from certs.issue import CLOCK_SKEW, KeyPair, issue_authority

LIFETIME: Final = timedelta(days=2 * 365)
LEAF_LIFETIME: Final = timedelta(days=90)
RENEW_AT: Final = 2 / 3

# API servers learn of a changed caBundle within seconds; replicas look every few.
PUBLISHED_FOR: Final = timedelta(minutes=5)
# Replicas serve leaves of the new authority within seconds of its turn.
RETIRED_FOR: Final = timedelta(days=1)

COMMON_NAME: Final = "pg-operator webhook authority"


class AuthorityError(Exception):
    """What is stored is no authority; says what is wrong, never a key."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs, who will, and the certificates of those who did (PEM)."""

    current: KeyPair
    following: KeyPair | None = None
    retired: tuple[bytes, ...] = ()

    @property
    def bundle(self) -> bytes:
        """Everything that a client must trust, as PEM."""
        coming = () if self.following is None else (self.following.certificate_pem,)
        return b"".join((self.current.certificate_pem, *coming, *self.retired))

    def to_data(self) -> dict[str, bytes]:
        """Return the data of a Secret; the same keys always."""
        following = self.following or KeyPair(b"", b"")
        return {
            "tls.crt": self.current.certificate_pem,
            "tls.key": self.current.private_key_pem,
            "next.crt": following.certificate_pem,
            "next.key": following.private_key_pem,
            "ca.crt": self.bundle,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, bytes]) -> Self:
        """Read what `to_data` wrote.

        Raises:
            AuthorityError: a key is missing, or does not belong to its certificate.
        """
        current = _read_pair(data, "tls")
        following = _read_pair(data, "next") if data.get("next.crt") else None
        known = {current.certificate_pem}
        if following is not None:
            known.add(following.certificate_pem)
        retired = tuple(
            pem for pem in split_bundle(data.get("ca.crt", b"")) if pem not in known
        )
        return cls(current=current, following=following, retired=retired)


def advance(
    authority: Authority | None,
    *,
    now: datetime,
    published: bool,
    rotate: bool = False,
) -> Authority:
    """Return the authority as it should be now; the same one if nothing is due.

    `published` says whether every client is known to have the bundle of `authority`.
    `rotate` begins a succession before it is due.
    """
    if authority is None or now >= _certificate(authority.current).not_valid_after_utc:
        # Nothing that an expired authority signed is trusted any more.
        return Authority(current=_new(now))
    if authority.following is not None:
        since = issued_at(_certificate(authority.following))
        if not (published and now >= since + PUBLISHED_FOR):
            return authority
        retiring = (authority.current.certificate_pem, *authority.retired)
        return Authority(current=authority.following, retired=retiring)
    if rotate or is_renewal_due(authority.current, now=now):
        return Authority(
            current=authority.current, following=_new(now), retired=authority.retired
        )
    gone = issued_at(_certificate(authority.current)) + PUBLISHED_FOR + RETIRED_FOR
    if authority.retired and now >= gone:
        return Authority(current=authority.current)
    return authority


def is_renewal_due(pair: KeyPair, *, now: datetime) -> bool:
    """Tell whether two thirds of a certificate's life are over."""
    certificate = _certificate(pair)
    begin, end = issued_at(certificate), certificate.not_valid_after_utc
    return now >= begin + (end - begin) * RENEW_AT


def issued_at(certificate: x509.Certificate) -> datetime:
    """Return when a certificate of ours was made."""
    return certificate.not_valid_before_utc + CLOCK_SKEW


def split_bundle(bundle: bytes) -> list[bytes]:
    """Return the certificates of a PEM bundle one by one, as we write them.

    Raises:
        AuthorityError: it is no PEM bundle.
    """
    if not bundle.strip():
        return []
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        raise AuthorityError("ca.crt must be certificates in PEM") from None
    return [certificate.public_bytes(Encoding.PEM) for certificate in certificates]


def _new(now: datetime) -> KeyPair:
    return issue_authority(common_name=COMMON_NAME, now=now, lifetime=LIFETIME)


def _certificate(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


def _read_pair(data: Mapping[str, bytes], name: str) -> KeyPair:
    pair = KeyPair(data.get(f"{name}.crt", b""), data.get(f"{name}.key", b""))
    try:
        certificate = _certificate(pair)
        key = load_pem_private_key(pair.private_key_pem, password=None)
    except (ValueError, TypeError):
        key = None
    if key is None:
        raise AuthorityError(
            f"{name}.crt and {name}.key must be a certificate and its key in PEM"
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(
        *form
    ):
        raise AuthorityError(f"{name}.key must be the key of {name}.crt")
    return pair
