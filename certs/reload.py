"""Serve a certificate that is mounted as files, and follow its renewal.

A renewal must not fail a single request, so the listener and its SSLContext stay; a
new pair is loaded into a context of its own, and only when that has worked do new
handshakes get it. Calling `load_cert_chain` again on the live context would not do:
when certificate and key do not match, OpenSSL keeps the new certificate, drops the
old key, and every handshake fails from then on.
"""

import asyncio
import hashlib
import logging
import ssl
from pathlib import Path

from cryptography import x509

logger = logging.getLogger(__name__)


class CertificateError(Exception):
    """A certificate and key that cannot be served; says which files and why."""


class ServingCertificate:
    """A mounted certificate and its key, behind one SSLContext for a listener.

    Raises CertificateError when the pair on disk cannot be served at the start.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._current = self._load()
        self._seen = self._digest()
        self.context = _server_context()
        self.context.sni_callback = self._hand_over

    def reload(self) -> bool:
        """Serve the pair on disk if it has changed; True when a new one is served.

        A pair that cannot be read or does not match (it may be half-written) leaves
        the old one in place and is logged once.
        """
        seen = self._digest()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._current = self._load()
        except CertificateError as error:
            logger.warning("Kept serving the old certificate: %s", error)
            return False
        logger.info("Serves a new certificate: %s", self._describe())
        return True

    async def watch(self, *, interval: float) -> None:
        """Look at the files every `interval` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            self.reload()

    def _hand_over(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Give the starting handshake the newest good pair (runs without SNI too)."""
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = _server_context()
        try:
            # The empty password makes an encrypted key an error; without it OpenSSL
            # would ask for one at the terminal and wait.
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"cannot serve certificate {self._certificate} "
                f"with key {self._key}: {error}"
            ) from error
        return context

    def _digest(self) -> tuple[bytes | None, bytes | None]:
        """Tell what is on disk by content: a remounted Secret may keep its times."""
        return _digest_of(self._certificate), _digest_of(self._key)

    def _describe(self) -> str:
        try:
            leaf = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except (OSError, ValueError):
            return "replaced again while it was being loaded"
        expiry = leaf.not_valid_after_utc.isoformat()
        return f"serial {leaf.serial_number:x}, valid until {expiry}"


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _digest_of(path: Path) -> bytes | None:
    """Digest, so that the key itself is not kept in memory; None if unreadable."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
