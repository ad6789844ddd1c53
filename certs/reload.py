"""Serve a certificate that is mounted as files, and follow its renewal."""

import asyncio
import hashlib
import logging
import ssl
from datetime import datetime
from pathlib import Path

from certs.serving import CertificateError, Handover, describe

__all__ = ["CertificateError", "ServingCertificate"]

logger = logging.getLogger(__name__)


class ServingCertificate:
    """A mounted certificate and its key, behind one SSLContext for a listener.

    Raises CertificateError when the pair on disk cannot be served at the start.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._handover = Handover()
        self._seen = self._digest()
        self._handover.serve(certificate, key)

    @property
    def context(self) -> ssl.SSLContext:
        """The context to listen with."""
        return self._handover.context

    @property
    def not_after(self) -> datetime | None:
        """When what is served now expires."""
        return self._handover.not_after

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
            leaf = self._handover.serve(self._certificate, self._key)
        except CertificateError as error:
            logger.warning("Kept serving the old certificate: %s", error)
            return False
        logger.info("Serves a new certificate: %s", describe(leaf))
        return True

    async def watch(self, *, interval: float) -> None:
        """Look at the files every `interval` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            self.reload()

    def _digest(self) -> tuple[bytes | None, bytes | None]:
        """Tell what is on disk by content: a remounted Secret may keep its times."""
        return _digest_of(self._certificate), _digest_of(self._key)


def _digest_of(path: Path) -> bytes | None:
    """Digest, so that the key itself is not kept in memory; None if unreadable."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
