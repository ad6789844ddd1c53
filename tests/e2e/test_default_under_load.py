"""config/default loses no admission, whatever happens to its pods and certificates."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from cryptography import x509

from tests.e2e.installation import Installation
from tests.e2e.load import Load, more
from tests.e2e.pods import certificate_of
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.probes import wait_until

Fault = Callable[[DeployedCluster, dict[str, Any]], AbstractContextManager[None]]

MANIFESTS = "config/default"
CERTIFICATE = "pg-operator-webhook"
SERVING = "pg-operator-webhook-certificate"
WEBHOOK = "deployment/pg-operator-webhook"
# So many that they go on asking while each of those that asked the silent one waits.
CLIENTS_THAT_WAIT = 128
# What the API server's watch of EndpointSlices may need to learn of a change.
PROPAGATION_SECONDS = 1.0


def test_rolling_update_loses_no_admission(
    installation: Installation, load: Load
) -> None:
    own = installation.cluster.own
    before = {pod["metadata"]["uid"] for pod in installation.cluster.pods("webhook")}

    own.run("rollout", "restart", WEBHOOK)
    own.run("rollout", "status", WEBHOOK, "--timeout=120s", timeout=150)

    def replaced() -> bool:
        names = own.get("pods", "--selector=app.kubernetes.io/component=webhook")
        return before.isdisjoint(pod["metadata"]["uid"] for pod in names["items"])

    assert wait_until(replaced, timeout=60)
    more(load)
    assert load.failed == []


def test_certificate_renewal_loses_no_admission(
    installation: Installation, load: Load
) -> None:
    cluster = installation.cluster
    bundles = installation.ca_bundles()
    before = {certificate_of(pod) for pod in cluster.pods("webhook")}

    renew(installation)

    def renewed() -> bool:
        present = {certificate_of(pod) for pod in cluster.pods("webhook")}
        return len(present) == 1 and before.isdisjoint(present)

    assert wait_until(renewed, timeout=60)
    more(load)
    assert load.failed == []
    assert installation.ca_bundles() == bundles


def test_deleted_secret_comes_back_and_costs_no_admission(
    installation: Installation, load: Load
) -> None:
    cluster = installation.cluster
    before = installation.secret(SERVING)["tls.crt"]
    bundles = installation.ca_bundles()

    cluster.own.run("delete", "secret", SERVING)

    def served_again() -> bool:
        if cluster.own("get", "secret", SERVING).returncode != 0:
            return False
        leaf = installation.secret(SERVING).get("tls.crt", before)
        served = {certificate_of(pod) for pod in cluster.pods("webhook")}
        return leaf != before and served == {x509.load_pem_x509_certificate(leaf)}

    assert wait_until(served_again, timeout=60)
    more(load)
    assert load.failed == []
    assert installation.ca_bundles() == bundles


def test_killed_replica_costs_no_more_than_what_was_on_its_way(
    installation: Installation, load: Load
) -> None:
    pod = installation.cluster.pods("webhook")[0]

    installation.cluster.signal(pod, signal.SIGKILL)
    withdrawn = wait_for_endpoint(installation, pod, ready=False)
    wait_for_endpoint(installation, pod, ready=True)
    more(load)

    late = [answer for answer in load.failed if answer.sent > withdrawn]
    assert late == []


@contextmanager
def cut_off(cluster: DeployedCluster, pod: dict[str, Any]) -> Iterator[None]:
    """Leave a pod without its network."""
    cluster.connect(pod, up=False)
    try:
        yield
    finally:
        cluster.connect(pod, up=True)


@contextmanager
def frozen(cluster: DeployedCluster, pod: dict[str, Any]) -> Iterator[None]:
    """Stop a pod's program; its kernel still takes connections for it."""
    cluster.signal(pod, signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.signal(pod, signal.SIGCONT)


@pytest.mark.parametrize(
    ("load", "fault"),
    [(CLIENTS_THAT_WAIT, cut_off), (CLIENTS_THAT_WAIT, frozen)],
    indirect=["load"],
    ids=["cut off", "frozen"],
)
def test_silent_replica_costs_no_more_than_what_was_on_its_way(
    installation: Installation, load: Load, fault: Fault
) -> None:
    cluster = installation.cluster
    pod = cluster.pods("webhook")[0]

    with fault(cluster, pod):
        withdrawn = wait_for_endpoint(installation, pod, ready=False)
        more(load)
    wait_for_endpoint(installation, pod, ready=True)
    more(load)

    late = [answer for answer in load.failed if answer.sent > withdrawn]
    assert late == []


def renew(installation: Installation) -> None:
    """Have cert-manager renew the leaf now, as `cmctl renew` does."""
    own = installation.cluster.own
    status = own.get("certificate", CERTIFICATE)["status"]
    asked = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "asked for by a test",
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    patch = json.dumps({"status": {"conditions": [*status["conditions"], asked]}})
    target = ("certificate", CERTIFICATE, "--subresource=status", "--type=merge")
    own.run("patch", *target, f"--patch={patch}")


def wait_for_endpoint(
    installation: Installation, pod: dict[str, Any], *, ready: bool
) -> float:
    """Wait until a pod's endpoint is (not) ready; return by when all must know it."""
    own, address = installation.cluster.own, pod["status"]["podIP"]

    def reached() -> bool:
        slices = own.get("endpointslices")["items"]
        return ready == any(
            endpoint["conditions"]["ready"]
            for one in slices
            for endpoint in one["endpoints"] or []
            if address in endpoint["addresses"]
        )

    assert wait_until(reached, timeout=60)
    return time.monotonic() + PROPAGATION_SECONDS
