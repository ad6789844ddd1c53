"""A Service follows the hosts and the owners it is given, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.services import (
    Endpoint,
    ServiceOwner,
    ServiceStatus,
    apply_service,
    remove_service,
)
from tests.cluster.kube_bed import connected, make_owner
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl

DNS = ("pg.example.test",)
OTHER_DNS = ("db.example.test",)
IPV4 = ("192.0.2.10", "192.0.2.11")
BOTH = ("192.0.2.10", "2001:db8::1")
CONTROLLER = "system:serviceaccount:pg-operator-system:pg-operator-controller"
NAME = "pg"

Apply = Callable[..., Awaitable[ServiceStatus]]


@pytest.fixture
async def kubernetes(cluster: LocalCluster) -> AsyncIterator[Kubernetes]:
    async with connected(cluster) as kubernetes:
        yield kubernetes


@pytest.fixture
def owner(kubectl: Kubectl, namespace: str) -> ServiceOwner:
    return make_owner(kubectl, namespace, "orders")


@pytest.fixture
def apply(kubernetes: Kubernetes, namespace: str, owner: ServiceOwner) -> Apply:
    """Apply Service `pg` for some hosts, owned by `owner` unless told otherwise."""

    async def apply(
        hosts: tuple[str, ...],
        *,
        port: int = 5432,
        owners: Sequence[ServiceOwner] = (owner,),
        cluster: str = "main",
        name: str = NAME,
    ) -> ServiceStatus:
        return await apply_service(
            kubernetes,
            namespace=namespace,
            name=name,
            endpoint=Endpoint(hosts, port),
            owners=owners,
            cluster=cluster,
        )

    return apply


def stored_hosts(kubectl: Kubectl) -> tuple[list[str], int]:
    """Return where the stored Service leads to: hosts and port."""
    found = kubectl.get("services,endpointslices")["items"]
    (spec,) = (one["spec"] for one in found if one["kind"] == "Service")
    slices = [one for one in found if one["kind"] == "EndpointSlice"]
    for one in slices:
        assert one["metadata"]["labels"]["kubernetes.io/service-name"] == NAME
        assert one["ports"][0]["port"] == spec["ports"][0]["port"]
    hosts = [
        address
        for one in sorted(slices, key=lambda one: str(one["addressType"]))
        for end in one["endpoints"]
        for address in end["addresses"]
    ]
    if spec["type"] == "ExternalName":
        assert "clusterIP" not in spec
        hosts.append(spec["externalName"])
    else:
        assert (spec["type"], spec["clusterIP"]) == ("ClusterIP", "None")
        assert "externalName" not in spec
    (port,) = spec["ports"]
    return hosts, port["port"]


def stored_owners(kubectl: Kubectl, *, kind: str = "service") -> list[str]:
    """Return the uids of the stored owner references."""
    name = NAME if kind == "service" else f"{NAME}-ipv4"
    references = kubectl.get(kind, name)["metadata"].get("ownerReferences", [])
    return sorted(reference["uid"] for reference in references)


def everything(kubectl: Kubectl) -> str:
    """Return all Services and EndpointSlices, to be compared."""
    return json.dumps(kubectl.get("services,endpointslices")["items"])


def make_foreign(kubectl: Kubectl, **metadata: Any) -> Mapping[str, Any]:
    """Make a Service that is not ours."""
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, **metadata},
        "spec": {"ports": [{"port": 80}]},
    }
    kubectl.run("create", "--filename=-", input=json.dumps(document))
    return kubectl.get("service", NAME)


@pytest.mark.parametrize(
    "walk",
    [
        (DNS, OTHER_DNS, IPV4, DNS, BOTH),
        (BOTH, IPV4, IPV4[:1], BOTH, DNS),
        (IPV4, BOTH, OTHER_DNS),
    ],
)
async def test_service_leads_where_it_is_said_from_wherever_it_led(
    apply: Apply, kubectl: Kubectl, walk: tuple[tuple[str, ...], ...]
) -> None:
    for port, hosts in enumerate(walk, start=5432):
        status = await apply(hosts, port=port)
        assert (status.ready, status.changed) == (True, True)
        assert stored_hosts(kubectl) == ([*hosts], port)
        assert not (await apply(hosts, port=port)).changed


@pytest.mark.parametrize("hosts", [DNS, BOTH])
async def test_unchanged_service_costs_no_write(
    cluster: LocalCluster, apply: Apply, namespace: str, hosts: tuple[str, ...]
) -> None:
    await apply(hosts)
    mark = cluster.audit_mark()
    status = await apply(hosts)
    requests = [
        request
        for request in cluster.requests_since(mark, user=CONTROLLER)
        if request.namespace == namespace
    ]
    assert (status.ready, status.changed) == (True, False)
    assert {request.verb for request in requests} == {"get"}
    assert len(requests) == 3


async def test_service_is_shared_by_all_its_owners(
    apply: Apply, kubectl: Kubectl, namespace: str, owner: ServiceOwner
) -> None:
    second = make_owner(kubectl, namespace, "invoices")
    await apply(IPV4)
    for owners in ((second, owner), (second,)):
        await apply(IPV4, owners=owners)
        for kind in ("service", "endpointslice"):
            uids = sorted(one.uid for one in owners)
            assert stored_owners(kubectl, kind=kind) == uids
        assert not (await apply(IPV4, owners=owners)).changed


@pytest.mark.parametrize("hosts", [DNS, IPV4])
async def test_service_stays_for_the_owners_that_are_left(
    apply: Apply,
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    namespace: str,
    owner: ServiceOwner,
    hosts: tuple[str, ...],
) -> None:
    second = make_owner(kubectl, namespace, "invoices")
    await apply(hosts, owners=(second, owner))
    await remove_service(
        kubernetes, namespace=namespace, name=NAME, owners=(owner,), cluster="main"
    )
    assert stored_hosts(kubectl) == ([*hosts], 5432)
    assert stored_owners(kubectl) == [owner.uid]
    if hosts == IPV4:
        assert stored_owners(kubectl, kind="endpointslice") == [owner.uid]
    # Nothing of ours got lost on the way: it is still as it should be.
    assert not (await apply(hosts)).changed


async def test_service_without_owners_is_removed_with_its_slices(
    apply: Apply, kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    await apply(BOTH)
    for _ in range(2):  # the second time there is nothing, which is all right
        await remove_service(
            kubernetes, namespace=namespace, name=NAME, owners=(), cluster="main"
        )
        assert kubectl.get("services,endpointslices")["items"] == []


async def test_others_labels_and_owners_are_left_alone(
    apply: Apply, kubectl: Kubectl, namespace: str, owner: ServiceOwner
) -> None:
    await apply(DNS)
    kubectl.run("label", "service", NAME, "team=shop")
    configmap = kubectl.run("create", "configmap", "other", "--output=name").strip()
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "other",
        "uid": kubectl.get(configmap)["metadata"]["uid"],
    }
    patch = [{"op": "add", "path": "/metadata/ownerReferences/-", "value": reference}]
    kubectl.run("patch", "service", NAME, "--type=json", f"--patch={json.dumps(patch)}")
    assert not (await apply(DNS)).changed
    await apply(OTHER_DNS)
    assert stored_owners(kubectl) == sorted([owner.uid, reference["uid"]])
    assert kubectl.get("service", NAME)["metadata"]["labels"]["team"] == "shop"


async def test_service_restored_from_a_backup_is_still_ours(
    apply: Apply, kubectl: Kubectl, owner: ServiceOwner
) -> None:
    await apply(DNS)
    backup = dict(kubectl.get("service", NAME))
    backup["metadata"] = {
        key: value
        for key, value in backup["metadata"].items()
        if key in {"name", "labels", "annotations"}
    }
    kubectl.run("delete", "service", NAME)
    kubectl.run("create", "--filename=-", input=json.dumps(backup))
    assert (await apply(OTHER_DNS)).ready
    assert stored_hosts(kubectl) == ([*OTHER_DNS], 5432)
    assert stored_owners(kubectl) == [owner.uid]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"labels": {"app.kubernetes.io/managed-by": "pg-operator"}},
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
    ],
)
async def test_foreign_service_is_left_as_it_is(
    apply: Apply,
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    namespace: str,
    metadata: dict[str, Any],
) -> None:
    before = make_foreign(kubectl, **metadata)
    for hosts in (DNS, IPV4):
        status = await apply(hosts)
        assert (status.ready, status.reason) == (False, "ServiceConflict")
        assert f"Service '{NAME}'" in status.message
    await remove_service(
        kubernetes, namespace=namespace, name=NAME, owners=(), cluster="main"
    )
    assert kubectl.get("service", NAME) == before
    assert kubectl.get("endpointslices")["items"] == []


async def test_service_of_another_cluster_is_left_as_it_is(
    apply: Apply, kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    await apply(IPV4)
    before = everything(kubectl)
    status = await apply(DNS, cluster="other")
    assert (status.ready, status.reason) == (False, "ServiceConflict")
    await remove_service(
        kubernetes, namespace=namespace, name=NAME, owners=(), cluster="other"
    )
    assert everything(kubectl) == before


async def test_copy_of_our_service_is_not_ours(apply: Apply, kubectl: Kubectl) -> None:
    await apply(DNS)
    copy = json.loads(json.dumps(kubectl.get("service", NAME)))
    copy["metadata"] = {
        "name": "copy",
        "labels": copy["metadata"]["labels"],
        "annotations": copy["metadata"]["annotations"],
    }
    kubectl.run("create", "--filename=-", input=json.dumps(copy))
    assert (await apply(IPV4, name="copy")).reason == "ServiceConflict"


async def test_foreign_slice_is_left_as_it_is(apply: Apply, kubectl: Kubectl) -> None:
    foreign = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{NAME}-ipv4"},
        "addressType": "IPv4",
        "endpoints": [],
    }
    kubectl.run("create", "--filename=-", input=json.dumps(foreign))
    before = everything(kubectl)
    status = await apply(IPV4)
    assert (status.ready, status.reason) == (False, "ServiceConflict")
    assert "EndpointSlice" in status.message
    assert everything(kubectl) == before


async def test_what_cannot_be_served_leaves_what_is_served(
    apply: Apply, kubectl: Kubectl
) -> None:
    await apply(DNS)
    before = everything(kubectl)
    for hosts in (("127.0.0.1",), ("a.example.test", "b.example.test")):
        status = await apply(hosts)
        assert (status.ready, status.reason) == (False, "ServiceUnsupported")
    assert everything(kubectl) == before


async def test_refusal_of_the_api_server_is_an_answer_without_the_host(
    apply: Apply,
) -> None:
    for name, hosts in (
        (NAME, ("under_score.example.test",)),
        ("x" * 64, DNS),
        ("x" * 64, IPV4),
        ("Upper", DNS),
        ("..", IPV4),
    ):
        status = await apply(hosts, name=name)
        assert (status.ready, status.reason) == (False, "ServiceUnsupported")
        assert not any(host in status.message for host in hosts)


async def test_terminating_namespace_is_no_failure(
    apply: Apply, kubectl: Kubectl, namespace: str
) -> None:
    # The owner's finalizer is ours, so the namespace stays until the fixture's end.
    hold = '{"metadata": {"finalizers": ["test.example/hold"]}}'
    kubectl.run("create", "configmap", "held")
    kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={hold}")
    kubectl.run("delete", "namespace", namespace, "--wait=false")
    try:
        for hosts in (DNS, IPV4):
            status = await apply(hosts)
            assert (status.ready, status.changed) == (True, False)
    finally:
        free = '{"metadata": {"finalizers": null}}'
        kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={free}")


async def test_databases_that_make_their_service_at_once_all_succeed(
    apply: Apply, kubectl: Kubectl, namespace: str, owner: ServiceOwner
) -> None:
    second = make_owner(kubectl, namespace, "invoices")
    owners = (second, owner)
    statuses = await asyncio.gather(*(apply(BOTH, owners=owners) for _ in range(8)))
    assert all(status.ready for status in statuses)
    assert stored_hosts(kubectl) == ([*BOTH], 5432)
    assert not (await apply(BOTH, owners=owners)).changed
