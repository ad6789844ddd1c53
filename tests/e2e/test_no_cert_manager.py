"""config/overlays/no-cert-manager: the webhook looks after its certificates itself."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certs.authority import PUBLISHED_FOR, Authority
from certs.issue import issue_authority
from tests.cluster.standins import problems
from tests.e2e.installation import Installation
from tests.e2e.load import Load, more, refusal
from tests.e2e.pods import certificate_of
from tests.localcluster.probes import wait_until

MANIFESTS = "config/overlays/no-cert-manager"
AUTHORITY = "pg-operator-webhook-ca"
# How long the test's own authority still has to be published before it signs.
SOON = timedelta(seconds=25)


def authority_of(installation: Installation) -> Authority:
    return Authority.from_data(installation.secret(AUTHORITY))


def trusted(installation: Installation) -> set[bytes]:
    return {bundle.encode() for bundle in installation.ca_bundles()}


def test_webhook_is_trusted_and_refuses(installation: Installation) -> None:
    assert trusted(installation) == {authority_of(installation).bundle}
    assert installation.cluster.own.get("certificates")["items"] == []
    for pod in installation.cluster.pods("webhook"):
        signed_by(pod, authority_of(installation))
    assert refusal(installation.cluster.kubectl)
    assert problems(installation.cluster) == {}


def test_wiped_trust_is_restored(installation: Installation) -> None:
    before = trusted(installation)
    installation.wipe_trust()

    assert wait_until(lambda: trusted(installation) == before, timeout=60)
    assert wait_until(lambda: refusal(installation.cluster.kubectl) != "", timeout=30)


def test_rotation_of_the_authority_loses_no_admission(
    installation: Installation, load: Load
) -> None:
    """As `pg-operator certs rotate` begins it, only that less time is left."""
    before = authority_of(installation)
    now = datetime.now(UTC) - PUBLISHED_FOR + SOON
    following = issue_authority(
        common_name="pg-operator webhook authority",
        now=now,
        lifetime=timedelta(days=30),
    )
    begun = Authority(current=before.current, following=following)
    store(installation, begun)

    def succeeded() -> bool:
        present = authority_of(installation)
        return present.current == following and trusted(installation) == {
            present.bundle
        }

    assert wait_until(succeeded, timeout=120)
    after = authority_of(installation)
    assert wait_until(
        lambda: all(
            is_signed_by(pod, after) for pod in installation.cluster.pods("webhook")
        ),
        timeout=60,
    )
    assert before.current.certificate_pem in after.retired
    more(load)
    assert load.failed == []


def store(installation: Installation, authority: Authority) -> None:
    """Put an authority in the place of the stored one."""
    data = {
        key: base64.b64encode(value).decode()
        for key, value in authority.to_data().items()
    }
    patch = f"--patch={json.dumps({'data': data})}"
    installation.cluster.own.run("patch", "secret", AUTHORITY, "--type=merge", patch)


def is_signed_by(pod: dict[str, Any], authority: Authority) -> bool:
    """Say whether a pod serves a certificate that `authority` signs now."""
    try:
        signed_by(pod, authority)
    except (ValueError, InvalidSignature):
        return False
    return True


def signed_by(pod: dict[str, Any], authority: Authority) -> None:
    """Raise unless a pod serves a certificate that `authority` signs now."""
    issuer = x509.load_pem_x509_certificate(authority.current.certificate_pem)
    certificate_of(pod).verify_directly_issued_by(issuer)
