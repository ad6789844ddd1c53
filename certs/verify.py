"""Judge certificates as an API server would, and say what is wrong in words."""

import hashlib
import ssl
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.issue import KeyPair
from certs.serving import CertificateError, Handover


def describe_certificates(bundle: bytes) -> list[str]:
    """Return a line for each certificate of a PEM bundle; none of them is secret.

    Raises:
        ValueError: it is no PEM bundle.
    """
    return [
        f"{certificate.subject.rfc4514_string() or 'no subject'}, "
        f"serial {certificate.serial_number:x}, "
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
        f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, "
        f"SHA-256 {_fingerprint(certificate)}"
        for certificate in x509.load_pem_x509_certificates(bundle)
    ]


def bundle_problem(bundle: bytes, *, now: datetime) -> str:
    """Say why a caBundle can make nothing trusted; empty when it can."""
    if not bundle.strip():
        return "is empty"
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return "is no PEM bundle"
    problems = [age_problem(one, now=now) for one in certificates]
    return "" if "" in problems else f"holds only a certificate that {problems[0]}"


def age_problem(certificate: x509.Certificate, *, now: datetime) -> str:
    """Say why a certificate is not valid now; empty when it is."""
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc.isoformat()}"
    if now >= certificate.not_valid_after_utc:
        return f"expired at {certificate.not_valid_after_utc.isoformat()}"
    return ""


def overdue_problem(certificate: x509.Certificate, *, now: datetime) -> str:
    """Say that a certificate should have been renewed: 9/10 of its life are over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin + (end - begin) * 0.9:
        return ""
    left = max(end - now, timedelta())
    return f"expires in {left.days} days and was not renewed"


def pair_problem(pair: KeyPair, *, bundle: bytes, host: str) -> str:
    """Say why a client that trusts `bundle` would not talk to a server with a pair.

    It is tried, with a whole handshake in memory and today's date.
    """
    handover = Handover()
    try:
        handover.serve_pair(pair)
        client_context = ssl.create_default_context(cadata=bundle.decode())
    except (CertificateError, ssl.SSLError, ValueError):
        return "cannot be used: certificate, key or caBundle is no PEM, or do not match"
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = handover.context.wrap_bio(to_server, to_client, server_side=True)
    try:
        while not _has_shaken(client):
            _has_shaken(server)
    except ssl.SSLCertVerificationError as error:
        return f"is not accepted for {host}: {error.verify_message}"
    except ssl.SSLError as error:
        return f"cannot be served: {error.reason}"
    return ""


def _has_shaken(side: ssl.SSLObject) -> bool:
    """Go on with a handshake as far as it goes; return whether it is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()[:16]
