"""What stands for a server in a namespace follows from the DSN's hosts alone."""

import copy
from typing import Any

import pytest

from pg_operator.kube.differences import differs
from pg_operator.kube.endpoints import (
    Desired,
    Endpoint,
    Identity,
    ServiceOwner,
    Unservable,
    desired_endpoints,
    port_hint,
)

IDENTITY = Identity("shop", "orders-db", "main")
ORDERS = ServiceOwner("orders", "uid-1")
INVOICES = ServiceOwner("invoices", "uid-2")


def desired(
    *hosts: str, port: int = 5432, owners: tuple[ServiceOwner, ...] = (ORDERS,)
) -> Desired:
    """Return what is desired for a DSN with these hosts."""
    return desired_endpoints(IDENTITY, Endpoint(hosts, port), owners=owners)


def stored(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as the API server has it after an apply."""
    obj = copy.deepcopy(manifest)
    metadata = obj["metadata"]
    owners: dict[str, Any] = {
        f'k:{{"uid":"{ref["uid"]}"}}': {} for ref in metadata["ownerReferences"]
    }
    metadata |= {"uid": "u", "resourceVersion": "3", "creationTimestamp": "now"}
    metadata["managedFields"] = [
        {
            "manager": "pg-operator",
            "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:ownerReferences": owners}},
        }
    ]
    metadata["labels"]["team"] = "somebody's"
    if obj["kind"] == "Service":
        obj["spec"]["sessionAffinity"] = "None"
    return obj


def addresses(manifest: dict[str, Any]) -> list[str]:
    """Return the addresses of an EndpointSlice."""
    return [address for end in manifest["endpoints"] for address in end["addresses"]]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pg.example.test", "pg.example.test"),
        ("PG.Example.Test.", "pg.example.test"),
        ("pg.data.svc.cluster.local", "pg.data.svc.cluster.local"),
    ],
)
def test_dns_name_becomes_an_alias_without_slices(host: str, name: str) -> None:
    result = desired(host)
    assert result.service["spec"]["type"] == "ExternalName"
    assert result.service["spec"]["externalName"] == name
    assert "clusterIP" not in result.service["spec"]
    assert result.slices == ()


def test_addresses_become_one_slice_for_each_family() -> None:
    result = desired("192.0.2.10", "2001:DB8::1", "192.0.2.11", port=6432)
    assert result.service["spec"]["type"] == "ClusterIP"
    assert result.service["spec"]["clusterIP"] == "None"
    assert [addresses(manifest) for manifest in result.slices] == [
        ["192.0.2.10", "192.0.2.11"],
        ["2001:db8::1"],
    ]
    assert [manifest["addressType"] for manifest in result.slices] == ["IPv4", "IPv6"]
    assert {manifest["ports"][0]["port"] for manifest in result.slices} == {6432}


def test_slices_belong_to_the_service_and_to_nobody_elses_controller() -> None:
    (manifest,) = desired("192.0.2.10").slices
    labels = manifest["metadata"]["labels"]
    assert labels["kubernetes.io/service-name"] == "orders-db"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "pg-operator.dev"


def test_address_in_any_spelling_is_the_same_address() -> None:
    same = desired("192.0.2.10")
    assert desired("192.0.2.10", "192.0.2.10") == same
    assert desired("::ffff:192.0.2.10") == same
    assert desired("192.0.522") == same


def test_owners_are_followed_by_the_garbage_collector_without_blocking_it() -> None:
    result = desired("192.0.2.10", owners=(INVOICES, ORDERS))
    for manifest in (result.service, *result.slices):
        references = manifest["metadata"]["ownerReferences"]
        assert [(ref["kind"], ref["name"], ref["uid"]) for ref in references] == [
            ("Database", "invoices", "uid-2"),
            ("Database", "orders", "uid-1"),
        ]
        assert not any(ref["blockOwnerDeletion"] for ref in references)
        assert not any("controller" in ref for ref in references)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "unspecified"),  # noqa: S104 (to be refused)
        ("::", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"),
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("db.localhost", "localhost"),
        ("/var/run/postgresql", "unix socket"),
        ("@socket", "unix socket"),
        ("", "unix socket"),
        ("pg", "whole DNS name"),
        ("pg.data.svc", "whole DNS name"),
    ],
)
def test_host_that_means_something_else_in_a_pod_is_refused(
    host: str, words: str
) -> None:
    with pytest.raises(Unservable, match=words):
        desired(host)


@pytest.mark.parametrize(
    "hosts",
    [("a.example.test", "b.example.test"), ("a.example.test", "192.0.2.1")],
)
def test_several_hosts_are_refused_unless_all_are_addresses(
    hosts: tuple[str, ...],
) -> None:
    with pytest.raises(Unservable, match="several hosts"):
        desired(*hosts)


@pytest.mark.parametrize("host", ["pg.secret.example", "secret-host", "169.254.0.7"])
def test_refusal_never_names_the_host(host: str) -> None:
    with pytest.raises(Unservable) as caught:
        desired(host, "second.example.test")
    assert host not in str(caught.value)
    assert "second.example.test" not in str(caught.value)


def test_users_of_an_alias_are_told_an_unusual_port() -> None:
    assert "6432" in port_hint(desired("pg.example.test", port=6432).service)
    assert port_hint(desired("pg.example.test").service) == ""
    assert port_hint(desired("192.0.2.1", port=6432).service) == ""


def test_service_is_recognised_by_label_and_annotation() -> None:
    service = stored(desired("pg.example.test").service)
    assert IDENTITY.owns(service)
    for other in (
        Identity("shop", "orders-db", "other"),
        Identity("shop", "copy", "main"),
        Identity("copy", "orders-db", "main"),
    ):
        assert not other.owns(service)
    del service["metadata"]["ownerReferences"]  # as a restored backup has it
    assert IDENTITY.owns(service)
    service["metadata"]["labels"] = {}
    assert not IDENTITY.owns(service)
    assert not IDENTITY.owns({"metadata": {}})


def test_nothing_differs_from_what_was_applied() -> None:
    for hosts in (("pg.example.test",), ("192.0.2.1", "2001:db8::1")):
        result = desired(*hosts, owners=(INVOICES, ORDERS))
        for manifest in (result.service, *result.slices):
            assert not differs(manifest, stored(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: obj["spec"].update(externalName="other.example.test"),
        lambda obj: obj["spec"].update(type="ClusterIP"),
        lambda obj: obj["spec"]["ports"][0].update(port=1),
        lambda obj: obj["spec"]["ports"].append({"port": 2, "protocol": "TCP"}),
        lambda obj: obj["spec"].pop("ports"),
        lambda obj: obj["metadata"]["labels"].clear(),
        lambda obj: obj["metadata"].pop("annotations"),
        lambda obj: obj["metadata"].pop("ownerReferences"),
        lambda obj: obj["metadata"]["ownerReferences"][0].update(name="renamed"),
    ],
)
def test_every_field_of_ours_is_put_back(change: Any) -> None:
    manifest = desired("pg.example.test").service
    found = stored(manifest)
    change(found)
    assert differs(manifest, found)


def test_missing_object_differs() -> None:
    assert differs(desired("pg.example.test").service, None)


def test_owner_that_left_differs_but_only_if_we_applied_it() -> None:
    both = stored(desired("pg.example.test", owners=(INVOICES, ORDERS)).service)
    one = desired("pg.example.test", owners=(ORDERS,)).service
    assert differs(one, both)
    # A reference that somebody else set is not ours to take away, nor to retry for.
    both["metadata"]["managedFields"][0]["manager"] = "velero"
    assert not differs(one, both)
    both["metadata"]["managedFields"] = []
    assert not differs(one, both)
