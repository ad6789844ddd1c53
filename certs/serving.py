"""The certificate of a listener, replaced without closing it.

A renewal must not fail a single request, so the listener and its SSLContext stay; a
new pair is loaded into a context of its own, and only when that has worked do new
handshakes get it. Calling `load_cert_chain` again on the live context would not do:
when certificate and key do not match, OpenSSL keeps the new certificate, drops the
old key, and every handshake fails from then on.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509

from certs.issue import KeyPair


class CertificateError(Exception):
    """A certificate and key that cannot be served; says which and why."""


class Certificate(Protocol):
    """What a server needs to know of its certificate."""

    @property
    def context(self) -> ssl.SSLContext:
        """The context to listen with; it stays the same."""

    @property
    def not_after(self) -> datetime | None:
        """When what is served now expires; None before there is any."""

    async def watch(self, *, interval: float) -> None:
        """Keep it fresh, looking every `interval` seconds, until cancelled."""


class Handover:
    """One SSLContext for a listener, and the pair that new handshakes get."""

    def __init__(self) -> None:
        self._current: ssl.SSLContext | None = None
        self.not_after: datetime | None = None
        self.context = _server_context()
        self.context.sni_callback = self._hand_over

    def serve(self, certificate: Path, key: Path) -> x509.Certificate:
        """Give new handshakes this pair; return the certificate that was read.

        Raises:
            CertificateError: it cannot be served; the old pair stays.
        """
        context = _server_context()
        try:
            # The empty password makes an encrypted key an error; without it OpenSSL
            # would ask for one at the terminal and wait.
            context.load_cert_chain(certificate, key, password="")
            leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"cannot serve certificate {certificate} with key {key}: {error}"
            ) from error
        self._current = context
        self.not_after = leaf.not_valid_after_utc
        return leaf

    def serve_pair(self, pair: KeyPair) -> x509.Certificate:
        """Give new handshakes a pair that no file holds; the same otherwise."""
        with ExitStack() as stack:
            paths = [
                stack.enter_context(_unnamed_file(content))
                for content in (pair.certificate_pem, pair.private_key_pem)
            ]
            return self.serve(*paths)

    def _hand_over(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> int | None:
        """Give the starting handshake the newest good pair (runs without SNI too)."""
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None


def describe(leaf: x509.Certificate) -> str:
    """Say which certificate it is, for a log."""
    expiry = leaf.not_valid_after_utc.isoformat()
    return f"serial {leaf.serial_number:x}, valid until {expiry}"


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def _unnamed_file(content: bytes) -> Iterator[Path]:
    """Hold content where OpenSSL can read it, in memory if the system can do that.

    The root file system of a pod is read-only, and a key has no business on a disk.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate")
        path = Path(f"/proc/self/fd/{descriptor}")
    else:
        descriptor, name = tempfile.mkstemp()
        path = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        try:
            file.write(content)
            file.flush()
            yield path
        finally:
            if not hasattr(os, "memfd_create"):
                path.unlink()
