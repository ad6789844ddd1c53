"""A name from a spec stays a name: it never leads to another path."""

import pytest

from pg_operator.kube.paths import (
    ImpossibleName,
    core_path,
    object_path,
    path_of,
    slice_path,
)


def test_objects_are_where_kubernetes_keeps_them() -> None:
    assert core_path("namespaces", name="shop") == "/api/v1/namespaces/shop"
    assert core_path("secrets", "shop", "pw") == "/api/v1/namespaces/shop/secrets/pw"
    assert core_path("secrets") == "/api/v1/secrets"
    ours = "/apis/pg-operator.dev/v1alpha1"
    assert object_path("DatabaseCluster", "", "main") == f"{ours}/databaseclusters/main"
    assert object_path("Database", "") == f"{ours}/databases"
    discovery = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    assert slice_path("shop", "pg-ipv4") == f"{discovery}/pg-ipv4"


def test_object_says_itself_where_it_is() -> None:
    role = {
        "apiVersion": "pg-operator.dev/v1alpha1",
        "kind": "DatabaseRole",
        "metadata": {"namespace": "shop", "name": "reader"},
    }
    assert path_of(role) == object_path("DatabaseRole", "shop", "reader")


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "a?watch=1", "a%2Fb", "a#b", "ä", "A", " a", "a\n", "-a"]
)
def test_impossible_name_is_no_path(name: str) -> None:
    with pytest.raises(ImpossibleName):
        core_path("secrets", "shop", name)
    with pytest.raises(ImpossibleName):
        core_path("secrets", name, "pw")
