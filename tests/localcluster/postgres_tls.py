"""TLS for a server of the bed: a certificate of its own, and no session without."""

import os
from pathlib import Path

from tests.localcluster.certificates import issue_for
from tests.localcluster.postgres_files import Account

SETTINGS = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}


def require_tls(data: Path, *, hosts: list[str], account: Account | None) -> bytes:
    """Give a data directory a certificate, and let nobody in without TLS.

    Returns the certificate of the authority that signed it.
    """
    authority, leaf = issue_for(hosts)
    key = data / "server.key"
    key.touch(mode=0o600)
    key.write_bytes(leaf.private_key_pem)
    certificate = data / "server.crt"
    certificate.write_bytes(leaf.certificate_pem)
    if account is not None:
        for path in (key, certificate):
            os.chown(path, account.uid, account.gid)
    (data / "pg_hba.conf").write_text(
        "hostssl all all all scram-sha-256\n", encoding="utf-8"
    )
    return authority.certificate_pem
