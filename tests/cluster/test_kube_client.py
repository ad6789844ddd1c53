"""Objects are read and written as asked, once, and with the controller's rights."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from pg_operator.kube.client import Kubernetes, core_path, object_path
from pg_operator.kube.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KubernetesError,
    NamespaceTerminating,
    NotFound,
)
from tests.cluster.kube_bed import connected, make_owner
from tests.cluster.objects import documents, password_secret
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl, KubectlError
from tests.localcluster.manifests import OPERATOR_NAMESPACE, Identity
from tests.localcluster.probes import wait_until

Json = dict[str, Any]
HOLD = "test.example/hold"
REFUSED = "test.example/refused"
PATIENCE = 30


@pytest.fixture
async def kubernetes(cluster: LocalCluster) -> AsyncIterator[Kubernetes]:
    async with connected(cluster) as kubernetes:
        yield kubernetes


@pytest.fixture
def name(kubectl: Kubectl, namespace: str) -> str:
    """A Database that the operator has nothing to do for."""
    owner = make_owner(kubectl, namespace, "orders")
    kubectl.wait(f"database/{owner.name}", "condition=Ready=false")
    return owner.name


@pytest.fixture
def policy(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """A policy of this namespace that refuses a finalizer."""
    kind, version = "ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["pg-operator.dev"],
        "apiVersions": ["*"],
        "operations": ["UPDATE"],
        "resources": ["databases"],
    }
    refusal = {
        "expression": f"!object.metadata.finalizers.exists(f, f == '{REFUSED}')",
        "message": "not this one",
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    specs: dict[str, Json] = {
        kind: {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
            "validations": [refusal],
        },
        f"{kind}Binding": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    for one, spec in specs.items():
        document = {"apiVersion": version, "kind": one, "spec": spec}
        kubectl.apply(documents({**document, "metadata": {"name": namespace}}))
    yield
    for one in specs:
        kubectl.run("delete", one, namespace)


async def read_database(kubernetes: Kubernetes, namespace: str, name: str) -> Json:
    """Return a Database that exists."""
    found = await kubernetes.read(("Database", namespace, name))
    assert found is not None
    return found


def conditions(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return an object's conditions by type."""
    return {one["type"]: one["reason"] for one in obj["status"]["conditions"]}


async def test_status_is_merged_and_the_spec_stays(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    before = await read_database(kubernetes, namespace, name)
    answer = await kubernetes.patch_status(before, {"service": "pg", "oid": 5})
    assert answer["status"] == {**before["status"], "service": "pg", "oid": 5}
    answer = await kubernetes.patch_status(before, {"service": None})
    assert answer["status"] == {**before["status"], "oid": 5}
    assert answer["spec"] == before["spec"]
    assert answer["metadata"]["generation"] == before["metadata"]["generation"]


async def test_unchanged_status_leaves_the_object_as_it_was(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    before = await read_database(kubernetes, namespace, name)
    answer = await kubernetes.patch_status(before, before["status"])
    assert (
        answer["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    )


async def test_status_of_an_object_that_is_gone_or_another_is_told(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    database = await read_database(kubernetes, namespace, name)
    gone = {**database, "metadata": {**database["metadata"], "name": "gone"}}
    with pytest.raises(NotFound):
        await kubernetes.patch_status(gone, {})
    other = {**database, "metadata": {**database["metadata"], "uid": "another"}}
    with pytest.raises(Conflict):
        await kubernetes.patch_status(other, {})


async def test_finalizers_are_replaced_whatever_else_was_written_meanwhile(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str, name: str
) -> None:
    before = await read_database(kubernetes, namespace, name)
    mine = before["metadata"]["finalizers"]
    kubectl.run("label", "database", name, "team=shop")
    answer = await kubernetes.patch_finalizers(before, [*mine, HOLD])
    assert answer is not None
    assert answer["metadata"]["finalizers"] == [*mine, HOLD]
    assert answer["metadata"]["labels"] == {"team": "shop"}
    answer = await kubernetes.patch_finalizers(answer, mine)
    assert answer is not None
    assert answer["metadata"]["finalizers"] == mine


async def test_finalizers_are_only_replaced_as_they_were_read(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str, name: str
) -> None:
    before = await read_database(kubernetes, namespace, name)
    mine = before["metadata"]["finalizers"]
    another = {**before, "metadata": {**before["metadata"], "uid": "another"}}
    with pytest.raises(Conflict):
        await kubernetes.patch_finalizers(another, [])
    held = await kubernetes.patch_finalizers(before, [*mine, HOLD])
    assert held is not None
    with pytest.raises(Conflict):
        await kubernetes.patch_finalizers(before, [])
    kubectl.run("delete", "database", name, "--wait=false")
    with pytest.raises(Conflict):
        await kubernetes.patch_finalizers(held, [*mine, HOLD, "test.example/late"])
    # The controller, too, takes its finalizer off.
    kubectl.wait(f"database/{name}", f"jsonpath={{.metadata.finalizers[0]}}={HOLD}")
    going = await read_database(kubernetes, namespace, name)
    assert await kubernetes.patch_finalizers(going, []) is not None
    assert await kubernetes.read(("Database", namespace, name)) is None


async def test_finalizer_that_may_not_be_set_is_no_conflict(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    database = await read_database(kubernetes, namespace, name)
    with pytest.raises(Invalid) as refused:
        await kubernetes.patch_finalizers(database, ["not a name"])
    assert refused.value.fields == ("metadata.finalizers",)


async def test_finalizer_that_a_policy_refuses_is_no_conflict(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str, name: str, policy: None
) -> None:
    """It says so with the code of a patch whose test failed, and names no field."""
    hold = json.dumps({"metadata": {"finalizers": [REFUSED]}})
    try_it = ("patch", "database", name, "--type=merge", "--dry-run=server", "-p", hold)

    def is_refused() -> bool:
        with suppress(KubectlError):
            kubectl.run(*try_it)
            return False
        return True

    assert wait_until(is_refused, timeout=PATIENCE)
    database = await read_database(kubernetes, namespace, name)
    with pytest.raises(Invalid, match="not this one") as refused:
        await kubernetes.patch_finalizers(database, [REFUSED])
    assert refused.value.fields == ()


async def test_finalizers_of_an_object_that_is_gone_are_nothing(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    database = await read_database(kubernetes, namespace, name)
    gone = {**database, "metadata": {**database["metadata"], "name": "gone"}}
    assert await kubernetes.patch_finalizers(gone, []) is None


async def test_nothing_is_written_over_what_was_not_read(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "pg", "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "pg.example.test"},
    }
    first = await kubernetes.apply(service, over=None)
    with pytest.raises(Conflict):
        await kubernetes.apply(service, over=None)
    kubectl.run("label", "service", "pg", "team=shop")
    with pytest.raises(Conflict):
        await kubernetes.apply(service, over=first)
    with pytest.raises(Conflict):
        await kubernetes.delete(first)
    second = await kubernetes.get(core_path("services", namespace, "pg"))
    assert second is not None
    assert second["metadata"]["labels"] == {"team": "shop"}
    await kubernetes.delete(second)
    await kubernetes.delete(second)  # gone already, which is all right
    assert await kubernetes.read_core("services", namespace, "pg") is None


async def test_what_does_not_exist_is_nothing(
    kubernetes: Kubernetes, namespace: str
) -> None:
    for missing in ("missing", "..", "Impossible", "a/b"):
        assert await kubernetes.read_secret(namespace, missing) is None
    assert await kubernetes.read(("Database", namespace, "missing")) is None


async def test_secret_is_read_with_its_values(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.apply(documents(password_secret("reader", "first secret")))
    secret = await kubernetes.read_secret(namespace, "reader")
    assert secret is not None
    assert secret.text("password").reveal() == "first secret"
    assert "first secret" not in repr(secret)


async def test_secret_is_created_once(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    name = f"test-{secrets.token_hex(4)}"
    data = {"current": b"k1", "k1": b"\x00\xff"}
    try:
        await kubernetes.create_secret(OPERATOR_NAMESPACE, name, data)
        stored = await kubernetes.read_secret(OPERATOR_NAMESPACE, name)
        assert stored is not None
        assert stored.data == data
        with pytest.raises(Conflict):
            await kubernetes.create_secret(OPERATOR_NAMESPACE, name, {})
    finally:
        kubectl.run("delete", "secret", name, f"--namespace={OPERATOR_NAMESPACE}")


async def test_nothing_can_be_created_in_a_terminating_namespace(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.run("create", "configmap", "held")
    hold = '{"metadata": {"finalizers": ["test.example/hold"]}}'
    kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={hold}")
    kubectl.run("delete", "namespace", namespace, "--wait=false")
    try:
        administrator = cluster.control_plane.administrator
        async with connected(cluster, administrator) as kubernetes:
            with pytest.raises(NamespaceTerminating):
                await kubernetes.create_secret(namespace, "late", {})
    finally:
        free = '{"metadata": {"finalizers": null}}'
        kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={free}")


async def test_list_has_every_object_of_a_kind(
    kubernetes: Kubernetes, namespace: str, name: str
) -> None:
    objects, version = await kubernetes.list(object_path("Database", ""))
    found = {
        (obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in objects
    }
    assert found[namespace, name]["kind"] == "Database"
    assert int(version) > 0
    namespaces, _ = await kubernetes.list(core_path("namespaces"))
    assert namespace in {obj["metadata"]["name"] for obj in namespaces}
    assert {(obj["apiVersion"], obj["kind"]) for obj in namespaces} == {
        ("v1", "Namespace")
    }


FORBIDDEN = [
    ("DELETE", "/api/v1/namespaces/{}/secrets"),
    ("PUT", "/api/v1/namespaces/{}/secrets/x"),
    ("GET", "/api/v1/namespaces/{}/pods"),
    ("GET", "/api/v1/namespaces/{}/configmaps"),
    ("GET", "/api/v1/namespaces/{}/services"),
    ("DELETE", "/api/v1/namespaces/{}/services"),
    ("DELETE", "/api/v1/namespaces/{}"),
    ("PATCH", "/api/v1/namespaces/{}"),
    ("POST", "/apis/pg-operator.dev/v1alpha1/databaseclusters"),
    ("DELETE", "/apis/pg-operator.dev/v1alpha1/databaseclusters/x"),
    ("DELETE", "/apis/pg-operator.dev/v1alpha1/namespaces/{}/databases/x"),
    ("POST", "/apis/pg-operator.dev/v1alpha1/namespaces/{}/databaseroles"),
    ("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("POST", "/api/v1/namespaces/{}/serviceaccounts/x/token"),
]


async def test_controller_may_do_no_more_than_it_does(
    kubernetes: Kubernetes, namespace: str
) -> None:
    for method, path in FORBIDDEN:
        body = None if method in {"GET", "DELETE"} else {"metadata": {"name": "x"}}
        content_type = (
            "application/merge-patch+json" if method == "PATCH" else "application/json"
        )
        with pytest.raises(Forbidden):
            await kubernetes.request(
                method, path.format(namespace), body=body, content_type=content_type
            )


async def test_webhook_may_read_nothing(cluster: LocalCluster, namespace: str) -> None:
    async with connected(cluster, cluster.control_plane.webhook) as kubernetes:
        for reading in (
            kubernetes.read_secret(namespace, "x"),
            kubernetes.read(("Database", namespace, "x")),
            kubernetes.list(core_path("secrets")),
            kubernetes.kube_system_uid(),
        ):
            with pytest.raises(Forbidden):
                await reading


async def test_unknown_token_is_forbidden(cluster: LocalCluster) -> None:
    stranger = Identity("stranger", (), "not a token")
    async with connected(cluster, stranger) as kubernetes:
        with pytest.raises(KubernetesError) as caught:
            await kubernetes.kube_system_uid()
    assert isinstance(caught.value, Forbidden)
    assert "not a token" not in str(caught.value)
