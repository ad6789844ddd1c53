"""The certificates of a connection Secret, given to libpq without touching a disk."""

import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pg_operator.postgres.errors import InvalidDSN

CA: Final = "ca.crt"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
_OPTIONS: Final = {CA: "sslrootcert", CERTIFICATE: "sslcert", KEY: "sslkey"}
VERIFYING: Final = frozenset({"verify-ca", "verify-full"})


class MemoryFile:
    """A file without a name: libpq reads certificates and keys from files only."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        # libpq takes no key that others may read.
        os.fchmod(self._descriptor, 0o600)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            file.write(content)

    @property
    def path(self) -> str:
        """Where this process finds it."""
        return f"/proc/self/fd/{self._descriptor}"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What to believe a server by, and what to show it; each is a file of PEM."""

    files: Mapping[str, MemoryFile] = field(default_factory=dict, repr=False)
    ca: str | None = field(default=None, repr=False)

    @classmethod
    def of_secret(cls, data: Mapping[str, bytes]) -> "Certificates":
        """Take what a Secret has under `ca.crt`, `tls.crt` and `tls.key`, if anything.

        Raises:
            InvalidDSN: a value is not what its key says, or one of a pair is missing.
        """
        given = {key: data[key] for key in _OPTIONS if data.get(key)}
        for key, content in given.items():
            if not _is_pem(key, content):
                kind = "private key" if key == KEY else "certificate"
                raise InvalidDSN(f"key '{key}' of the Secret holds no {kind} in PEM")
        for one, other in ((CERTIFICATE, KEY), (KEY, CERTIFICATE)):
            if one in given and other not in given:
                raise InvalidDSN(f"the Secret has key '{one}' but no key '{other}'")
        return cls(
            {key: MemoryFile(content) for key, content in given.items()},
            given[CA].decode() if CA in given else None,
        )

    def options(self, sslmode: str | None) -> dict[str, str]:
        """Return libpq's options, for the mode that the DSN asks for, if any.

        With a CA the server must prove its name unless the DSN says otherwise.

        Raises:
            InvalidDSN: the server is to be verified, and there is nothing to do it by.
        """
        options = dict(self._paths())
        if CERTIFICATE in self.files:
            options["sslcertmode"] = "allow"
        if CA in self.files:
            return {"sslmode": "verify-full", **options}
        if sslmode in VERIFYING:
            raise InvalidDSN(
                f"sslmode={sslmode} needs the CA's certificate under key '{CA}' of the "
                "Secret"
            )
        return options

    def _paths(self) -> Iterator[tuple[str, str]]:
        for key, file in self.files.items():
            yield _OPTIONS[key], file.path


def _is_pem(key: str, content: bytes) -> bool:
    try:
        if key == KEY:
            serialization.load_pem_private_key(content, password=None)
        else:
            x509.load_pem_x509_certificates(content)
    except (ValueError, TypeError):
        return False
    return True
