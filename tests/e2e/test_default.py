"""config/default, with cert-manager: deployed, used, taken away and deployed again."""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from cryptography import x509

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    login,
    password_secret,
)
from tests.cluster.standins import problems
from tests.e2e.installation import Installation
from tests.e2e.job import connection_secret_moves, service_follows_the_server
from tests.e2e.pods import certificate_of
from tests.e2e.rights import ACCOUNTS
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.node.api import Api, ApiError
from tests.localcluster.probes import wait_until

MANIFESTS = "config/default"
SAMPLES = CHECKOUT / "config" / "samples"
KINDS = "databaseclusters,databases,databaseroles"
SERVING = "pg-operator-webhook-certificate"
WEBHOOK = "deployment/pg-operator-webhook"
USER = "65532"
OWN_API = "/apis/pg-operator.dev/v1alpha1"
# Of others, which go one by one while the object is deleted.
FINALIZERS = [f"e2e.example/{number}" for number in range(20)]
MOST_ATTEMPTS = 20


def test_certificates_come_from_cert_manager(installation: Installation) -> None:
    authority = installation.secret("pg-operator-ca")["tls.crt"].decode()
    bundles = installation.ca_bundles()
    assert len(bundles) == 6
    assert all(authority.strip() in bundle for bundle in bundles)
    leaf = x509.load_pem_x509_certificate(installation.secret(SERVING)["tls.crt"])
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    for pod in installation.cluster.pods("webhook"):
        assert certificate_of(pod) == leaf


def test_pods_run_the_wheel_as_the_manifests_say(installation: Installation) -> None:
    cluster = installation.cluster
    pods = [*cluster.pods("webhook"), *cluster.pods("controller")]
    assert len(pods) >= 3
    for pod in pods:
        process = Path(f"/proc/{cluster.pid(pod)}")
        status = dict(
            line.split(":\t", 1)
            for line in (process / "status").read_text().splitlines()
        )
        inside = process / "root"
        assert int(status["CapEff"], 16) == 0
        assert (process / "uid_map").read_text().split()[0] == USER
        assert not (inside / CHECKOUT.relative_to("/")).exists()
        assert (inside / "opt/pg-operator/bin/pg-operator").exists()
        options = [
            line.split()[5]
            for line in (process / "mountinfo").read_text().splitlines()
            if line.split()[4] == "/"
        ]
        assert options
        assert all("ro" in option.split(",") for option in options)


@pytest.fixture(scope="module")
def samples(installation: Installation) -> Iterator[None]:
    """The samples, applied as they are, and the Secret that they ask for."""
    kubectl = installation.cluster.kubectl
    kubectl.apply(documents(dsn_secret("postgres-admin", installation.cluster.dsn)))
    kubectl.run("apply", f"--filename={SAMPLES}")
    kubectl.run("wait", KINDS, "--all", "--for=condition=Ready", "--timeout=60s")
    yield
    kubectl("delete", f"--filename={SAMPLES}", "--ignore-not-found", "--timeout=60s")


@pytest.mark.usefixtures("samples")
def test_samples_become_ready(installation: Installation) -> None:
    cluster = installation.cluster
    made = administer(cluster, "postgres", "SELECT datname FROM pg_database")
    declared = {
        document["spec"]["name"]
        for path in SAMPLES.glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == "Database"
    }
    assert declared <= {name for (name,) in made}
    assert problems(cluster) == {}


def test_invalid_samples_are_refused_through_the_service(
    installation: Installation,
) -> None:
    kubectl = installation.cluster.kubectl
    before = objects(kubectl)
    paths = sorted((SAMPLES / "invalid").glob("*.yaml"))
    assert paths
    for path in paths:
        refused = kubectl("apply", f"--filename={path}")
        assert refused.returncode == 1, path
        assert path.with_suffix(".txt").read_text() in refused.stderr
        # Of two documents the first is the object as it is stored.
        kubectl("delete", f"--filename={path}", "--ignore-not-found")
    assert objects(kubectl) == before


@pytest.mark.usefixtures("samples")
def test_service_follows_the_server_and_goes(installation: Installation) -> None:
    service_follows_the_server(installation.cluster)


@pytest.mark.usefixtures("samples")
def test_connection_secret_of_another_name_takes_the_place_of_the_old_one(
    installation: Installation,
) -> None:
    kubectl = installation.cluster.kubectl
    connection_secret_moves(kubectl, "shop-worker", old="shop-worker-connection")


@pytest.mark.usefixtures("samples")
def test_new_controller_goes_on_where_the_old_one_was(
    installation: Installation,
) -> None:
    cluster, kubectl = installation.cluster, installation.cluster.kubectl
    role = database_role("e2e", "main", password={"name": "e2e"})
    database_of_its_own = database("e2e", "main", deletionPolicy="Delete")
    permissions = [{"database": "e2e", "privileges": ["CONNECT"]}]
    role["spec"]["permissions"] = permissions

    def lets_in(password: str) -> bool:
        try:
            login(cluster, user="e2e", password=password, dbname="e2e").close()
        except psycopg.OperationalError:
            return False
        return True

    def changes_password_to(password: str) -> bool:
        kubectl.apply(documents(password_secret("e2e", password)))
        return wait_until(lambda: lets_in(password), timeout=60)

    kubectl.apply(documents(password_secret("e2e", "1"), database_of_its_own, role))
    kubectl.wait("databaserole/e2e", "condition=Ready")
    assert changes_password_to("2")
    controllers = [pod["metadata"]["name"] for pod in cluster.pods("controller")]
    cluster.own.run("delete", "pod", *controllers, "--timeout=60s")
    assert changes_password_to("3")

    chosen = "reason=PasswordChanged,involvedObject.name=e2e"

    def says_so_in_the_same_event() -> bool:
        (event,) = kubectl.get("events", f"--field-selector={chosen}")["items"]
        return bool(event["lastTimestamp"] > event["firstTimestamp"])

    assert wait_until(says_so_in_the_same_event, timeout=30)
    kubectl.run("delete", "databaserole/e2e", "database/e2e", "--timeout=60s")


@pytest.mark.usefixtures("samples")
@pytest.mark.parametrize(
    ("obj", "path"),
    [
        (database_role("written", "main"), "namespaces/default/databaseroles"),
        (
            database("written", "main", deletionPolicy="Delete"),
            "namespaces/default/databases",
        ),
        (database_cluster("written"), "databaseclusters"),
    ],
    ids=["role", "database", "server"],
)
def test_object_is_deleted_although_somebody_writes_it_in_between(
    installation: Installation, obj: dict[str, Any], path: str
) -> None:
    cluster = installation.cluster
    secret = dsn_secret("written", cluster.dsn)
    held = {**obj, "metadata": {**obj["metadata"], "finalizers": FINALIZERS}}

    def came_in_between() -> bool:
        """Delete the object while it is written; say whether it was read again."""
        begin = cluster.audit_size()
        cluster.kubectl.apply(documents(secret, held))
        cluster.kubectl.wait(f"{obj['kind']}/written", "condition=Ready")
        delete_while_written(installation, f"{OWN_API}/{path}/written")
        plural = path.rpartition("/")[2]
        return any(
            (request.verb, request.resource) == ("get", plural)
            and request.user.startswith(ACCOUNTS)
            for request in cluster.requests(since=begin)
        )

    assert any(came_in_between() for _ in range(MOST_ATTEMPTS))


@pytest.mark.usefixtures("samples")
def test_without_any_webhook_work_goes_on_and_a_namespace_can_be_deleted(
    installation: Installation,
) -> None:
    cluster = installation.cluster
    cluster.kubectl.run("create", "namespace", "going")
    going = cluster.kubectl_in("going")
    role = database_role("going", "main", password={"name": "going"})
    going.apply(
        documents(
            password_secret("going", secrets.token_urlsafe()),
            database("going", "main", deletionPolicy="Delete"),
            role,
        )
    )
    going.run("wait", KINDS, "--all", "--for=condition=Ready", "--timeout=60s")

    cluster.own.run("scale", WEBHOOK, "--replicas=0")
    assert wait_until(lambda: not cluster.pods("webhook"), timeout=60)
    try:
        refused = going("apply", "--filename=-", input=documents(database("x", "main")))
        assert "failed calling webhook" in refused.stderr
        old = fingerprint(going, "going")
        going.apply(documents(password_secret("going", secrets.token_urlsafe())))
        assert wait_until(lambda: fingerprint(going, "going") != old, timeout=60)
        cluster.kubectl.run("delete", "namespace", "going", "--timeout=60s")
    finally:
        cluster.own.run("scale", WEBHOOK, "--replicas=2")
        cluster.own.run("rollout", "status", WEBHOOK, "--timeout=60s")
    left = administer(
        cluster, "postgres", "SELECT 1 FROM pg_database WHERE datname = 'going'"
    )
    assert left == []


@pytest.mark.usefixtures("samples")
def test_uninstalling_and_installing_again_keeps_every_object(
    installation: Installation,
) -> None:
    kubectl = installation.cluster.kubectl
    before = objects(kubectl)

    installation.delete()
    assert objects(kubectl) == before
    installation.deploy()

    kubectl.run("wait", KINDS, "--all", "--for=condition=Ready", "--timeout=60s")
    assert objects(kubectl) == before


@pytest.mark.usefixtures("samples")
def test_samples_go_again(installation: Installation) -> None:
    kubectl = installation.cluster.kubectl
    kubectl.run("delete", f"--filename={SAMPLES}", "--timeout=60s")
    assert objects(kubectl) == {}


def delete_while_written(installation: Installation, path: str) -> None:
    """Delete an object that others annotate all the time, and let go of one by one."""
    plane = installation.cluster.control_plane
    address = plane.url.removeprefix("https://")
    api = Api(address, ca=plane.ca, token=plane.administrator.token)
    given_up = threading.Event()

    def annotate() -> None:
        while not given_up.is_set():
            note = {"e2e": secrets.token_hex(4)}
            api.merge(path, {"metadata": {"annotations": note}})

    def let_go() -> None:
        first = "/metadata/finalizers/0"
        for name in FINALIZERS:
            is_first = {"op": "test", "path": first, "value": name}
            api.patch(path, [is_first, {"op": "remove", "path": first}])

    def until_it_is_gone(write: Callable[[], None]) -> None:
        with contextlib.suppress(ApiError):
            write()

    writers = [
        threading.Thread(target=until_it_is_gone, args=[write])
        for write in (annotate, annotate, annotate, let_go)
    ]
    for writer in writers:
        writer.start()
    api.delete(path, {})
    gone = wait_until(lambda: not exists(api, path), timeout=60)
    given_up.set()
    for writer in writers:
        writer.join()
    assert gone


def fingerprint(kubectl: Kubectl, role: str) -> str:
    """Return what a DatabaseRole's status says of its password."""
    return str(kubectl.get("databaserole", role)["status"]["passwordFingerprint"])


def exists(api: Api, path: str) -> bool:
    """Say whether there is an object at a path."""
    try:
        api.get(path)
    except ApiError as error:
        return error.code != HTTPStatus.NOT_FOUND
    return True


def objects(kubectl: Kubectl) -> dict[str, tuple[str, Any]]:
    """Return uid and spec of every object of ours."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": (
            item["metadata"]["uid"],
            item["spec"],
        )
        for item in kubectl.get(KINDS, "--all-namespaces")["items"]
    }
