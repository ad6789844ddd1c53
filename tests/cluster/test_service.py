"""A Database's Service leads to its server; what others made is left alone."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.cluster.objects import database, database_cluster, documents, dsn_secret
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

Connect = Callable[..., None]

SLICES_OF = "--selector=kubernetes.io/service-name="
CONTROLLER = "system:serviceaccount:pg-operator-system:pg-operator-controller"
FOREIGN = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "pg"},
    "spec": {"ports": [{"port": 80}]},
}


def dsn(cluster: LocalCluster, address: str) -> str:
    """The bed's DSN with other hosts: a Service is built from `host` only."""
    own = f"host=pg.example.test hostaddr={cluster.postgres.host}"
    text = cluster.postgres.admin_dsn
    assert own in text
    return text.replace(own, address)


@pytest.fixture
def connect(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> Connect:
    """Make a DatabaseCluster with another address in its DSN, or give it one."""

    def connect(address: str, *, name: str = namespace) -> None:
        kubectl.apply(
            documents(
                dsn_secret(name, dsn(cluster, address)),
                database_cluster(name, resyncInterval="5s"),
            )
        )
        kubectl.wait(f"databasecluster/{name}", "condition=Ready")

    return connect


def service(kubectl: Kubectl, name: str = "pg") -> Mapping[str, Any] | None:
    """Return a Service, or None."""
    options = ("--ignore-not-found", "--output=json")
    found: Mapping[str, Any] | None = json.loads(
        kubectl.run("get", "service", name, *options) or "null"
    )
    return found


def slices(kubectl: Kubectl, name: str = "pg") -> dict[str, list[tuple[str, int]]]:
    """Return the addresses and ports of a Service's EndpointSlices by family."""
    found = kubectl.get("endpointslices", SLICES_OF + name)["items"]
    return {
        item["addressType"]: [
            (address, port["port"])
            for endpoint in item["endpoints"]
            for address in endpoint["addresses"]
            for port in item["ports"]
        ]
        for item in found
    }


def owners(kubectl: Kubectl, name: str = "pg") -> set[str]:
    """Return the names of a Service's owners; empty when there is none."""
    stored = service(kubectl, name)
    references = (stored or {"metadata": {}})["metadata"].get("ownerReferences", [])
    return {reference["name"] for reference in references}


def ready(kubectl: Kubectl, name: str) -> Mapping[str, Any]:
    """Return a Database's Ready condition; nothing in it before there is one."""
    conditions = kubectl.get("database", name)["status"].get("conditions", ())
    found: list[Mapping[str, Any]] = [c for c in conditions if c["type"] == "Ready"]
    return found[0] if found else {"status": "", "reason": "", "message": ""}


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the operator does by itself; fails when it never comes."""
    assert wait_until(condition, timeout=60)


def declare(kubectl: Kubectl, namespace: str, *names: str, of: str = "") -> None:
    """Apply Databases that share Service `pg`, and wait until they are Ready."""
    objects = [
        database(name, of or namespace, databaseServiceName="pg") for name in names
    ]
    kubectl.apply(documents(*objects))
    for name in names:
        kubectl.wait(f"database/{name}", "condition=Ready")


def test_service_of_a_dns_name_is_its_alias(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=pg.example.test hostaddr=127.0.0.1")
    declare(kubectl, namespace, f"{namespace}-a")

    stored = kubectl.get("service", "pg")
    assert stored["spec"]["type"] == "ExternalName"
    assert stored["spec"]["externalName"] == "pg.example.test"
    assert slices(kubectl) == {}
    assert "port" in ready(kubectl, f"{namespace}-a")["message"]


@pytest.mark.parametrize(
    ("host", "family"), [("192.0.2.10", "IPv4"), ("2001:db8::10", "IPv6")]
)
def test_service_of_an_address_is_headless_with_a_slice(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    connect: Connect,
    host: str,
    family: str,
) -> None:
    connect(f"host={host} hostaddr=127.0.0.1")
    declare(kubectl, namespace, f"{namespace}-a")

    stored = kubectl.get("service", "pg")
    assert stored["spec"]["type"] == "ClusterIP"
    assert stored["spec"]["clusterIP"] == "None"
    assert stored["spec"]["ports"][0]["port"] == cluster.postgres.port
    assert slices(kubectl) == {family: [(host, cluster.postgres.port)]}


def test_service_of_several_addresses_has_a_slice_for_each_family(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    port = cluster.postgres.port
    connect(
        "host=192.0.2.10,192.0.2.11,2001:db8::10 hostaddr=127.0.0.1,127.0.0.1,127.0.0.1"
    )
    declare(kubectl, namespace, f"{namespace}-a")

    assert slices(kubectl) == {
        "IPv4": [("192.0.2.10", port), ("192.0.2.11", port)],
        "IPv6": [("2001:db8::10", port)],
    }


def test_service_follows_the_dsn_in_place(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=pg.example.test hostaddr=127.0.0.1")
    declare(kubectl, namespace, f"{namespace}-a")
    uid = kubectl.get("service", "pg")["metadata"]["uid"]

    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    eventually(lambda: kubectl.get("service", "pg")["spec"]["type"] == "ClusterIP")
    assert kubectl.get("service", "pg")["spec"]["clusterIP"] == "None"
    assert slices(kubectl) == {"IPv4": [("192.0.2.10", cluster.postgres.port)]}

    connect("host=192.0.2.11 hostaddr=127.0.0.1")
    moved = {"IPv4": [("192.0.2.11", cluster.postgres.port)]}
    eventually(lambda: slices(kubectl) == moved)

    connect("host=pg2.example.test hostaddr=127.0.0.1")
    eventually(lambda: kubectl.get("service", "pg")["spec"]["type"] == "ExternalName")
    eventually(lambda: slices(kubectl) == {})
    stored = kubectl.get("service", "pg")
    assert stored["spec"]["externalName"] == "pg2.example.test"
    assert "clusterIP" not in stored["spec"]
    assert stored["metadata"]["uid"] == uid
    kubectl.wait(f"database/{namespace}-a", "condition=Ready")


def test_service_is_shared_until_the_last_database_leaves(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    one, other = f"{namespace}-a", f"{namespace}-b"
    declare(kubectl, namespace, one, other)
    eventually(lambda: owners(kubectl) == {one, other})

    kubectl.apply(documents(database(one, namespace)))
    eventually(lambda: owners(kubectl) == {other})
    kubectl.wait(f"database/{one}", "condition=Ready")
    assert slices(kubectl) != {}

    kubectl.apply(documents(database(other, namespace)))
    eventually(lambda: service(kubectl) is None)
    eventually(lambda: slices(kubectl) == {})


def test_service_stays_with_the_other_when_one_database_is_deleted(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=pg.example.test hostaddr=127.0.0.1")
    one, other = f"{namespace}-a", f"{namespace}-b"
    declare(kubectl, namespace, one, other)

    kubectl.run("delete", "database", one)
    eventually(lambda: owners(kubectl) == {other})

    kubectl.run("delete", "database", other)
    # The garbage collector's work: it has no other owner.
    eventually(lambda: service(kubectl) is None)


def test_service_with_slices_is_collected_with_its_database(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    declare(kubectl, namespace, f"{namespace}-a")

    kubectl.run("delete", "database", f"{namespace}-a")
    eventually(lambda: service(kubectl) is None)
    eventually(lambda: slices(kubectl) == {})


def test_service_of_another_name_replaces_the_old_one(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    name = f"{namespace}-a"
    declare(kubectl, namespace, name)

    kubectl.apply(documents(database(name, namespace, databaseServiceName="other")))
    eventually(lambda: owners(kubectl, "other") == {name})
    eventually(lambda: service(kubectl) is None)
    assert slices(kubectl) == {}
    assert slices(kubectl, "other") != {}
    kubectl.wait(f"database/{name}", "condition=Ready")


def test_foreign_service_is_left_alone_until_it_goes(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    kubectl.apply(documents(FOREIGN))
    before = kubectl.get("service", "pg")
    name = f"{namespace}-a"
    kubectl.apply(documents(database(name, namespace, databaseServiceName="pg")))

    kubectl.wait(f"database/{name}", "condition=Ready=False")
    eventually(lambda: ready(kubectl, name)["reason"] == "ServiceConflict")
    assert "choose another name" in ready(kubectl, name)["message"]
    assert kubectl.get("service", "pg") == before
    assert slices(kubectl) == {}

    kubectl.run("delete", "service", "pg")
    kubectl.wait(f"database/{name}", "condition=Ready", timeout=60)
    assert owners(kubectl) == {name}


def test_foreign_service_survives_the_database_that_wanted_its_name(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=pg.example.test hostaddr=127.0.0.1")
    kubectl.apply(documents(FOREIGN))
    before = kubectl.get("service", "pg")
    name = f"{namespace}-a"
    kubectl.apply(documents(database(name, namespace, databaseServiceName="pg")))
    eventually(lambda: ready(kubectl, name)["reason"] == "ServiceConflict")

    kubectl.apply(documents(database(name, namespace)))
    kubectl.wait(f"database/{name}", "condition=Ready")
    assert kubectl.get("service", "pg") == before
    kubectl.run("delete", "database", name)
    assert kubectl.get("service", "pg") == before


def test_service_of_another_databasecluster_is_a_conflict(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    one, other = f"{namespace}-1", f"{namespace}-2"
    connect("host=pg1.example.test hostaddr=127.0.0.1", name=one)
    connect("host=pg2.example.test hostaddr=127.0.0.1", name=other)
    declare(kubectl, namespace, f"{namespace}-a", of=one)

    late = database(f"{namespace}-b", other, databaseServiceName="pg")
    kubectl.apply(documents(late))
    eventually(lambda: ready(kubectl, f"{namespace}-b")["reason"] == "ServiceConflict")
    stored = kubectl.get("service", "pg")
    assert stored["spec"]["externalName"] == "pg1.example.test"
    assert owners(kubectl) == {f"{namespace}-a"}

    # Leaving, the loser takes nothing along.
    kubectl.run("delete", "database", f"{namespace}-b")
    assert owners(kubectl) == {f"{namespace}-a"}


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("host=127.0.0.1", id="loopback"),
        pytest.param("host=localhost hostaddr=127.0.0.1", id="localhost"),
        pytest.param(
            "host=a.example.test,b.example.test hostaddr=127.0.0.1,127.0.0.1",
            id="several-names",
        ),
        pytest.param(
            "host=a.example.test,192.0.2.10 hostaddr=127.0.0.1,127.0.0.1",
            id="name-and-address",
        ),
    ],
)
def test_service_that_cannot_be_is_said_and_not_made(
    kubectl: Kubectl, namespace: str, connect: Connect, address: str
) -> None:
    connect(address)
    name = f"{namespace}-a"
    kubectl.apply(documents(database(name, namespace, databaseServiceName="pg")))
    eventually(lambda: ready(kubectl, name)["reason"] == "ServiceUnsupported")

    message = ready(kubectl, name)["message"]
    assert "spec.databaseServiceName" in message
    assert "example" not in message
    assert "127.0.0.1" not in message
    assert service(kubectl) is None

    connect("host=pg.example.test hostaddr=127.0.0.1")
    kubectl.wait(f"database/{name}", "condition=Ready", timeout=60)


def test_service_cannot_stand_for_different_ports(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    port = cluster.postgres.port
    text = dsn(
        cluster, "host=192.0.2.10,192.0.2.11 hostaddr=127.0.0.1,127.0.0.1"
    ).replace(f"port={port}", f"port={port},{port + 1}")
    kubectl.apply(documents(dsn_secret(namespace, text), database_cluster(namespace)))
    kubectl.wait(f"databasecluster/{namespace}", "condition=Ready")
    name = f"{namespace}-a"
    kubectl.apply(documents(database(name, namespace, databaseServiceName="pg")))
    eventually(lambda: ready(kubectl, name)["reason"] == "ServiceUnsupported")
    assert service(kubectl) is None


def test_service_deleted_or_changed_by_hand_comes_back(
    kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    name = f"{namespace}-a"
    declare(kubectl, namespace, name)
    wanted = slices(kubectl)

    kubectl.run("delete", "service", "pg")
    kubectl.run("delete", "endpointslices", SLICES_OF + "pg")
    eventually(lambda: owners(kubectl) == {name} and slices(kubectl) == wanted)

    patch = '{"spec": {"type": "ExternalName", "externalName": "evil.example.test"}}'
    kubectl.run("patch", "service", "pg", f"--patch={patch}")
    eventually(lambda: kubectl.get("service", "pg")["spec"]["type"] == "ClusterIP")
    assert kubectl.get("service", "pg")["spec"]["clusterIP"] == "None"
    assert slices(kubectl) == wanted


def test_service_as_declared_is_not_written_again(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, connect: Connect
) -> None:
    connect("host=192.0.2.10 hostaddr=127.0.0.1")
    declare(kubectl, namespace, f"{namespace}-a", f"{namespace}-b")
    eventually(lambda: len(owners(kubectl)) == 2)
    _await_looks(cluster, namespace, since=cluster.audit_mark(), looks=3)

    mark = cluster.audit_mark()
    _await_looks(cluster, namespace, since=mark, looks=3)
    requests = cluster.requests_since(mark, user=CONTROLLER)
    assert [one for one in requests if one.namespace == namespace and one.writes] == []


def _await_looks(
    cluster: LocalCluster, namespace: str, *, since: int, looks: int
) -> None:
    """Wait until the controller has read the Service that many times."""

    def seen() -> bool:
        reads = [
            one
            for one in cluster.requests_since(since, user=CONTROLLER)
            if (one.namespace, one.resource, one.verb) == (namespace, "services", "get")
        ]
        return len(reads) >= looks

    eventually(seen)
