"""The cache never goes back, whatever order the news come in."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_operator.runtime.cache import Cache
from tests.unit.runtime_bed import (
    a_cluster,
    a_database,
    a_role,
    an_object,
    changed,
    cluster_key,
    database_key,
)


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_put_returns_what_was_there_before(cache: Cache) -> None:
    old = a_cluster()
    new = changed(old, generation=2)
    first = cache.put("DatabaseCluster", old)
    second = cache.put("DatabaseCluster", new)
    assert first is not None
    assert first.old is None
    assert second is not None
    assert second.old == old
    assert second.new == new


def test_older_or_equal_version_changes_nothing(cache: Cache) -> None:
    new = a_cluster(version=10)
    cache.put("DatabaseCluster", new)
    assert cache.put("DatabaseCluster", a_cluster(version=10)) is None
    assert cache.put("DatabaseCluster", a_cluster(version=9)) is None
    assert cache.get(cluster_key()) == new


def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    cache.put("DatabaseCluster", a_cluster(version=9))
    assert cache.put("DatabaseCluster", a_cluster(version=10)) is not None


def test_version_that_is_no_number_replaces_any_other(cache: Cache) -> None:
    cache.put("DatabaseCluster", a_cluster(version=9))
    odd = a_cluster(resourceVersion="b")
    assert cache.put("DatabaseCluster", odd) is not None
    assert cache.put("DatabaseCluster", odd) is None


def test_deleted_object_never_comes_back(cache: Cache) -> None:
    database = a_database("orders")
    cache.put("Database", database)
    cache.remove("Database", changed(database))
    late = changed(changed(changed(database)))
    assert cache.put("Database", late) is None
    assert cache.refresh("Database", late) is None
    assert cache.get(database_key("orders")) is None


def test_deletion_of_a_predecessor_leaves_the_successor(cache: Cache) -> None:
    successor = a_database("orders", uid="second", version=7)
    cache.put("Database", a_database("orders", uid="first"))
    cache.put("Database", successor)
    assert cache.remove("Database", a_database("orders", uid="first")) is None
    assert cache.get(database_key("orders")) == successor


def test_predecessor_never_replaces_its_successor(cache: Cache) -> None:
    cache.put("Database", a_database("orders", uid="first", version=2))
    cache.put("Database", a_database("orders", uid="second", version=7))
    assert cache.put("Database", a_database("orders", uid="first", version=9)) is None


def test_answer_to_a_write_brings_nothing_in_that_was_not_there(cache: Cache) -> None:
    assert cache.refresh("Database", a_database("orders")) is None
    assert cache.get(database_key("orders")) is None


def test_managed_fields_are_not_kept(cache: Cache) -> None:
    cache.put("DatabaseCluster", a_cluster(managedFields=[{"manager": "kubectl"}]))
    stored = cache.get(cluster_key())
    assert stored is not None
    assert "managedFields" not in stored["metadata"]


def test_what_kubectl_applied_last_is_not_kept(cache: Cache) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    cache.put("DatabaseCluster", a_cluster(annotations=applied))
    stored = cache.get(cluster_key())
    assert stored is not None
    assert stored["metadata"]["annotations"] == {"mine": "1"}


def test_words_of_many_objects_are_kept_once(cache: Cache) -> None:
    copies = [json.loads(json.dumps(a_database(name))) for name in ("one", "two")]
    for copy in copies:
        cache.put("Database", copy)
    one, two = (cache.get(database_key(name)) for name in ("one", "two"))
    assert [one, two] == copies
    assert one is not None
    assert two is not None
    assert [*map(id, one["spec"])] == [*map(id, two["spec"])]
    assert [*map(id, copies[0]["spec"])] != [*map(id, copies[1]["spec"])]


def test_version_that_is_stored_is_not_held_twice(cache: Cache) -> None:
    cache.put("Database", a_database("orders"))
    listed, newer = a_database("orders"), a_database("orders", version=2)
    assert cache.compact("Database", listed) is cache.get(database_key("orders"))
    assert cache.compact("Database", newer) == newer
    assert cache.compact("Database", a_database("stock")) == a_database("stock")


def test_of_a_namespace_only_its_metadata_is_kept(cache: Cache) -> None:
    cache.put("Namespace", an_object("shop", {"finalizers": ["kubernetes"]}))
    stored = cache.namespace("shop")
    assert stored is not None
    assert set(stored) == {"metadata"}


def test_objects_are_found_by_the_cluster_they_name(cache: Cache) -> None:
    mine, other = a_database("orders"), a_database("stock", cluster="other")
    cache.put("Database", mine)
    cache.put("Database", other)
    cache.put("DatabaseRole", a_role("app"))
    assert cache.of_cluster("Database", "main") == (mine,)
    cache.remove("Database", mine)
    assert cache.of_cluster("Database", "main") == ()


def test_databases_that_share_a_service_are_found_by_it(cache: Cache) -> None:
    mine = a_database("orders", service="db")
    for other in (a_database("stock"), a_database("pay", service="pay")):
        cache.put("Database", other)
    cache.put("Database", mine)
    namespace = mine["metadata"]["namespace"]
    assert cache.sharing(namespace, "db") == (mine,)
    assert cache.sharing("elsewhere", "db") == ()


def test_index_follows_an_object_that_changes(cache: Cache) -> None:
    role = a_role("app", "orders", "stock")
    cache.put("DatabaseRole", role)
    spec = {**role["spec"], "permissions": [{"database": "stock"}]}
    cache.put("DatabaseRole", {**changed(role), "spec": spec})
    assert cache.find("DatabaseRole", "permits", "main", "orders") == ()
    assert len(cache.find("DatabaseRole", "permits", "main", "stock")) == 1


def test_list_brings_news_and_takes_what_it_lacks(cache: Cache) -> None:
    gone, same, old = a_database("gone"), a_database("same"), a_database("edited")
    for database in (gone, same, old):
        cache.put("Database", database)
    new, edited = a_database("new"), changed(old, generation=2)
    changes = cache.replace("Database", [new, same, edited], version="5")
    seen = {(change.old and change.old["metadata"]["name"]) for change in changes}
    assert seen == {"gone", "edited", None}
    assert {obj["metadata"]["name"] for obj in cache.all("Database")} == {
        "new",
        "same",
        "edited",
    }


def test_list_does_not_take_what_is_younger_than_itself(cache: Cache) -> None:
    cache.put("Database", a_database("young", version=9))
    assert cache.replace("Database", [], version="5") == []
    assert cache.get(database_key("young")) is not None


def test_list_does_not_bring_back_what_was_deleted_meanwhile(cache: Cache) -> None:
    database = a_database("orders")
    cache.put("Database", database)
    cache.remove("Database", changed(database))
    assert cache.replace("Database", [database], version="1") == []


def _lives() -> Iterator[tuple[str, dict[str, object]]]:
    """Two lives of one name, as the watch tells them."""
    for life, first in (("first", 1), ("second", 5)):
        for version in range(first, first + 3):
            yield "put", a_database("orders", uid=life, version=version)
        yield "remove", a_database("orders", uid=life, version=first + 3)


LIVES = list(_lives())


@given(st.lists(st.integers(0, len(LIVES) - 1), max_size=12))
def test_order_of_news_does_not_matter_for_what_is_left(repeats: list[int]) -> None:
    cache = Cache()
    for position, (verb, obj) in enumerate(LIVES):
        getattr(cache, verb)("Database", obj)
        for late in repeats:
            if late <= position:
                getattr(cache, LIVES[late][0])("Database", LIVES[late][1])
    assert cache.get(database_key("orders")) is None
    assert cache.of_cluster("Database", "main") == ()


def test_database_is_judged_once_and_again_when_it_changes() -> None:
    """Thousands may ask for one name, and are looked at for each role that refers."""
    cache = Cache()
    cache.put("Database", a_database("orders"))
    (first,) = cache.named("Database", "main", "orders")
    spec = cache.declared(first)
    assert spec is not None
    assert cache.declared(first) is spec
    broken = changed(first)
    broken["spec"] = {**first["spec"], "connectionLimit": -5}
    cache.put("Database", broken)
    (second,) = cache.named("Database", "main", "orders")
    assert cache.declared(second) is None
