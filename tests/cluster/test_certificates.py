"""Certificates out of their time, half-written or gone, before a real API server."""

import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.issue import KeyPair, issue_authority, issue_leaf
from tests.cluster.objects import database_role, documents
from tests.cluster.standins import run_as_administrator
from tests.cluster.trust import trust, trusted
from tests.cluster.unguarded import admission_works
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.operator import HOST
from tests.localcluster.probes import wait_until

DAY = timedelta(days=1)
NAME = "pg-operator-webhook.pg-operator-system.svc"


@dataclass(frozen=True, slots=True)
class Mounted:
    """The files that the bed's webhook serves, and an authority to sign others."""

    certificate: Path
    key: Path
    authority: KeyPair
    address: str

    def issue(self, *, now: datetime) -> KeyPair:
        """Issue a leaf that is valid for a day, from an hour before `now`."""
        return issue_leaf(
            self.authority,
            dns_names=[NAME],
            ip_addresses=[HOST],
            now=now,
            lifetime=DAY,
        )

    def write(self, pair: KeyPair) -> None:
        """Put a pair where the webhook looks for it."""
        self.certificate.write_bytes(pair.certificate_pem)
        self.key.write_bytes(pair.private_key_pem)

    def serves(self, pair: KeyPair) -> bool:
        """Tell what a new connection is shown."""
        host, _, port = self.address.rpartition(":")
        shown = ssl.get_server_certificate((host, int(port)))
        return shown.encode() == pair.certificate_pem


@pytest.fixture
def mounted(cluster: LocalCluster) -> Iterator[Mounted]:
    """Have the API server trust an authority of ours, and give all back at the end."""
    options = dict(
        option.split("=", 1)
        for option in cluster.webhook.component.argv
        if "=" in option
    )
    certificate, key = Path(options["--certificate"]), Path(options["--key"])
    before = KeyPair(certificate.read_bytes(), key.read_bytes())
    bundle = trusted(cluster.kubectl)[0]
    authority = issue_authority(
        common_name="test", now=datetime.now(UTC) - 10 * DAY, lifetime=100 * DAY
    )
    trust(cluster.kubectl, base64.b64encode(authority.certificate_pem).decode())
    files = Mounted(certificate, key, authority, cluster.webhook.component.address)
    yield files
    files.write(before)
    trust(cluster.kubectl, bundle)
    assert wait_until(lambda: admission_works(cluster.kubectl), timeout=60)


def refusal(kubectl: Kubectl) -> str:
    """Say what the API server says to an object that is good."""
    role = documents(database_role("probe", "none"))
    done = kubectl("create", "--dry-run=server", "--filename=-", input=role)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize(
    ("age", "said"),
    [
        pytest.param(2 * DAY, "certificate has expired", id="expired"),
        pytest.param(-2 * DAY, "certificate is not yet valid", id="not-yet-valid"),
    ],
)
def test_certificate_out_of_its_time_is_told_and_replaced_without_a_restart(
    cluster: LocalCluster, kubectl: Kubectl, mounted: Mounted, age: timedelta, said: str
) -> None:
    pid = cluster.webhook.pid
    mounted.write(mounted.issue(now=datetime.now(UTC) - age))
    x509 = "x509: certificate has expired or is not yet valid"
    assert wait_until(lambda: x509 in refusal(kubectl), timeout=60)
    verify = ("certs", "verify", f"--connect={mounted.address}")
    told = run_as_administrator(cluster, *verify)
    assert told.returncode == 1
    assert f"is not accepted for {NAME}: {said}" in told.stdout

    mounted.write(mounted.issue(now=datetime.now(UTC)))
    assert wait_until(lambda: refusal(kubectl) == "", timeout=60)
    assert admission_works(kubectl)
    assert cluster.webhook.pid == pid


@pytest.mark.parametrize("fault", ["half-written", "deleted"])
def test_pair_that_cannot_be_served_leaves_the_last_good_one_in_use(
    cluster: LocalCluster, kubectl: Kubectl, mounted: Mounted, fault: str
) -> None:
    log = cluster.webhook.component.log
    good, later = (mounted.issue(now=datetime.now(UTC)) for _ in range(2))
    mounted.write(good)
    assert wait_until(lambda: mounted.serves(good), timeout=60)
    offset = len(log.read_text())
    if fault == "deleted":
        mounted.certificate.unlink()
        mounted.key.unlink()
    else:
        mounted.certificate.write_bytes(later.certificate_pem)
    kept = "Kept serving the old certificate"
    assert wait_until(lambda: kept in log.read_text()[offset:], timeout=60)
    assert mounted.serves(good)
    assert admission_works(kubectl)

    mounted.write(later)
    assert wait_until(lambda: mounted.serves(later), timeout=60)
    assert admission_works(kubectl)
