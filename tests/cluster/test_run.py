"""`pg-operator run --certs=self`: the overlay all-in-one, as a process."""

import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.cluster.objects import connect_cluster, database, documents
from tests.cluster.standins import arguments, run_as_administrator, standing_in
from tests.cluster.trust import trust, trusted
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG, render
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import wait_until

CERTIFICATES = "pg-operator-certificates"
IN_ITS_NAMESPACE = f"--namespace={OPERATOR_NAMESPACE}"


@pytest.fixture
def rights(cluster: LocalCluster) -> Iterator[None]:
    """Give the account of all-in-one what the overlay gives it in addition."""
    manifests = render(cluster.kubectl.program, CONFIG / "overlays" / "all-in-one")
    own = [one for one in manifests if one["metadata"]["name"] == CERTIFICATES]
    assert len(own) == 4
    cluster.kubectl.apply(yaml.safe_dump_all(own), "--server-side")
    yield
    cluster.kubectl.run(*("delete", "--filename=-"), input=yaml.safe_dump_all(own))
    cluster.kubectl.run("delete", "secret", "pg-operator-webhook-ca", IN_ITS_NAMESPACE)


@pytest.fixture
def alone(
    cluster: LocalCluster, rights: None, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Have `run` in the place of both processes, with nothing trusted at first."""
    parts = (cluster.controller, cluster.webhook)
    options = [
        *arguments(*parts, without=("--certificate=", "--key=")),
        *("--certs=self", "--serving-host=127.0.0.1", "--drain-seconds=0"),
    ]
    before = trusted(cluster.kubectl)[0]
    trust(cluster.kubectl, "")
    try:
        with standing_in(
            cluster, "run", options, parts=parts, log=tmp_path / "log"
        ) as process:
            yield process
    finally:
        trust(cluster.kubectl, before)


def test_one_process_is_trusted_refuses_makes_true_and_ends_in_order(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    alone: "subprocess.Popen[bytes]",
) -> None:
    mark = cluster.audit_mark()
    connect_cluster(cluster, kubectl, namespace)
    bad = documents(database(namespace, namespace, encoding="UTF-99"))
    refusal = kubectl("apply", "--filename=-", input=bad).stderr
    assert "must be a server encoding of PostgreSQL" in refusal
    kubectl.apply(documents(database(namespace, namespace, deletionPolicy="Delete")))
    kubectl.wait(f"database/{namespace}", "condition=Ready")

    certs = partial(run_as_administrator, cluster, "certs")
    address = cluster.webhook.component.address
    verified = certs("verify", f"--connect={address}")
    assert (verified.returncode, "FAIL" in verified.stdout) == (0, False), verified
    assert f"webhook at {address}" in verified.stdout
    trust(cluster.kubectl, "")
    assert certs("verify").returncode == 1
    assert wait_until(lambda: all(trusted(cluster.kubectl)), timeout=60)
    assert certs("rotate").returncode == 0
    both = "will sign: CN=pg-operator webhook authority"
    assert both in certs("show").stdout
    assert wait_until(lambda: certs("verify").returncode == 0, timeout=60)

    url = f"http://{cluster.controller.component.address}/metrics"
    with urllib.request.urlopen(url) as page:
        metrics = page.read().decode()
    assert 'webhook_requests_total{code="200",webhook="mutate-database"}' in metrics
    assert 'reconcile_total{controller="database",result="success"}' in metrics

    kubectl.run("delete", "database", namespace)
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(timeout=40) == 0
    user = cluster.control_plane.controller.user
    requests = cluster.requests_since(mark, user=user)
    assert [one for one in requests if one.code in {401, 403}] == []
