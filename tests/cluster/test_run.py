"""`pg-operator run --certs=self`: the overlay all-in-one, as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.objects import connect_cluster, database, documents
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG, render
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import answers, wait_until

READY_SECONDS = 60
PROGRAM = Path(sys.executable).parent / "pg-operator"
CONFIGURATIONS = (
    "mutatingwebhookconfiguration/pg-operator",
    "validatingwebhookconfiguration/pg-operator",
)
CERTIFICATES = "pg-operator-certificates"
IN_ITS_NAMESPACE = f"--namespace={OPERATOR_NAMESPACE}"


def trusted(kubectl: Kubectl) -> list[str]:
    """Return caBundle of every webhook, in Base64."""
    return [
        webhook["clientConfig"].get("caBundle", "")
        for name in CONFIGURATIONS
        for webhook in kubectl.get(name)["webhooks"]
    ]


def trust(kubectl: Kubectl, bundle: str) -> None:
    """Write caBundle of every webhook; an empty one takes it away."""
    for name in CONFIGURATIONS:
        step = {"op": "add", "value": bundle} if bundle else {"op": "remove"}
        steps = [
            {**step, "path": f"/webhooks/{number}/clientConfig/caBundle"}
            for number in range(3)
        ]
        kubectl.run("patch", name, "--type=json", f"--patch={json.dumps(steps)}")


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
def environment(cluster: LocalCluster) -> dict[str, str]:
    """Run the program as the account of all-in-one."""
    kubeconfig = cluster.controller.component.environment["KUBECONFIG"]
    return {**os.environ, "KUBECONFIG": kubeconfig}


@pytest.fixture
def alone(
    cluster: LocalCluster, environment: dict[str, str], rights: None, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Have `run` in the place of both processes, with nothing trusted at first."""
    parts = (cluster.controller, cluster.webhook)
    options = [
        argument
        for part in parts
        for argument in part.component.argv[2:]
        if not argument.startswith(("--certificate=", "--key="))
    ]
    before = trusted(cluster.kubectl)[0]
    trust(cluster.kubectl, "")
    for part in parts:
        part.stop()
    options += ["--certs=self", "--serving-host=127.0.0.1", "--drain-seconds=0"]
    log = tmp_path / "run.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [PROGRAM, "run", *options], stderr=written, env=environment
        )
    urls = [part.component.ready_url for part in parts]
    try:
        ready = wait_until(lambda: all(map(answers, urls)), timeout=READY_SECONDS)
        assert ready, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()
        for part in parts:
            part.start()
        trust(cluster.kubectl, before)


def test_one_process_is_trusted_refuses_makes_true_and_ends_in_order(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    environment: dict[str, str],
    alone: "subprocess.Popen[bytes]",
) -> None:
    mark = cluster.audit_mark()
    connect_cluster(cluster, kubectl, namespace)
    bad = documents(database(namespace, namespace, encoding="UTF-99"))
    refusal = kubectl("apply", "--filename=-", input=bad).stderr
    assert "must be a server encoding of PostgreSQL" in refusal
    kubectl.apply(documents(database(namespace, namespace, deletionPolicy="Delete")))
    kubectl.wait(f"database/{namespace}", "condition=Ready")

    def certs(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [str(PROGRAM), "certs", *args]
        administrator = {**environment, "KUBECONFIG": str(cluster.kubectl.kubeconfig)}
        return subprocess.run(
            command, env=administrator, capture_output=True, text=True, check=False
        )

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

    kubectl.run("delete", "database", namespace)
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(timeout=40) == 0
    user = cluster.control_plane.controller.user
    requests = cluster.requests_since(mark, user=user)
    assert [one for one in requests if one.code in {401, 403}] == []
