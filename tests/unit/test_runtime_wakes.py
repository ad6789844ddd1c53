"""Who looks again when something changes."""

from typing import Any

import pytest

from pg_operator.api.specs import GROUP, DatabaseClusterSpec
from pg_operator.reconcilers.outcome import Key
from pg_operator.runtime.cache import Cache, Change
from pg_operator.runtime.feed import Feed
from pg_operator.runtime.slim import CachedKind
from pg_operator.runtime.wakes import creator_wakes, outside_wakes, secret_wakes, wakes
from tests.unit.runtime_bed import (
    a_cluster,
    a_database,
    a_role,
    an_object,
    changed,
    cluster_key,
    database_key,
    role_key,
)

Json = dict[str, Any]
DELETED_AT = "2026-11-24T12:00:00Z"
ORDERS = a_database("orders")
STOCK = a_database("stock", namespace="depot")
APP = a_role("app", "orders")
REPORT = a_role("report", "stock", namespace="depot")
GOING = a_role("going", deletionTimestamp=DELETED_AT)
ELSEWHERE = a_database("far", cluster="other")
OBJECTS: list[tuple[CachedKind, Json]] = [
    ("Namespace", an_object("shop")),
    ("DatabaseCluster", a_cluster()),
    ("DatabaseCluster", a_cluster("other")),
    ("Database", ORDERS),
    ("Database", STOCK),
    ("Database", ELSEWHERE),
    ("DatabaseRole", APP),
    ("DatabaseRole", REPORT),
    ("DatabaseRole", GOING),
]
ON_MAIN = {
    database_key("orders"),
    database_key("stock", "depot"),
    role_key("app"),
    role_key("report", "depot"),
    role_key("going"),
}


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    for kind, obj in OBJECTS:
        cache.put(kind, obj)
    return cache


def put(cache: Cache, kind: CachedKind, obj: Json) -> set[Key]:
    change = cache.put(kind, obj)
    assert change is not None
    return wakes(change, cache)


def remove(cache: Cache, kind: CachedKind, obj: Json) -> set[Key]:
    change = cache.remove(kind, obj)
    assert change is not None
    return wakes(change, cache)


def condition(kind: str, status: str, reason: str, message: str = "") -> Json:
    stored = {"type": kind, "status": status, "reason": reason, "message": message}
    return {"observedGeneration": 1, "conditions": [stored]}


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"generation": 2}, id="another-spec"),
        pytest.param({"deletionTimestamp": DELETED_AT}, id="deletion-begins"),
        pytest.param({"finalizers": ["other"]}, id="finalizer-lost"),
        pytest.param(
            {"annotations": {"pg-operator.dev/release": "true"}}, id="told-to-let-go"
        ),
    ],
)
def test_object_is_woken_by_what_concerns_it(cache: Cache, edit: Json) -> None:
    assert role_key("app") in put(cache, "DatabaseRole", changed(APP, **edit))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"labels": {"team": "a"}}, id="labels"),
        pytest.param({"annotations": {"example.com/x": "1"}}, id="foreign-annotation"),
        pytest.param({"status": condition("Ready", "True", "Reconciled")}, id="status"),
    ],
)
def test_object_sleeps_through_what_does_not(cache: Cache, edit: Json) -> None:
    assert put(cache, "DatabaseRole", changed(APP, **edit)) == set()


def test_all_of_a_cluster_wake_when_its_pause_begins_changes_or_ends(
    cache: Cache,
) -> None:
    values: tuple[str | None, ...] = ("Paused", "Plan", None)
    for version, value in enumerate(values, start=100):
        told = {} if value is None else {"pg-operator.dev/reconcile": value}
        cluster = a_cluster(annotations=told, resourceVersion=str(version))
        woken = put(cache, "DatabaseCluster", cluster)
        assert woken - {cluster_key()} == ON_MAIN, value


def test_other_annotations_of_a_cluster_wake_nobody_else(cache: Cache) -> None:
    cluster = changed(a_cluster(), annotations={"example.com/x": "1"})
    assert put(cache, "DatabaseCluster", cluster) == set()


def test_finalizer_that_leaves_with_the_object_wakes_nobody(cache: Cache) -> None:
    gone = changed(GOING, finalizers=[])
    assert put(cache, "DatabaseRole", gone) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            condition("Available", "False", "ServerUnreachable"),
            condition("Available", "True", "Connected"),
            id="server-returns",
        ),
        pytest.param(
            condition("Available", "True", "MissingPrivileges"),
            condition("Available", "True", "Connected"),
            id="login-gets-its-rights",
        ),
        pytest.param(
            {"server": {"systemIdentifier": "1"}},
            {"server": {"systemIdentifier": "2"}},
            id="another-server",
        ),
        pytest.param(
            {"capabilities": {"createRole": False}},
            {"capabilities": {"createRole": True}},
            id="capabilities",
        ),
    ],
)
def test_cluster_status_wakes_its_objects_and_not_itself(
    cache: Cache, before: Json, after: Json
) -> None:
    cluster = changed(a_cluster(), status=before)
    cache.put("DatabaseCluster", cluster)
    assert put(cache, "DatabaseCluster", changed(cluster, status=after)) == ON_MAIN


def test_cluster_message_wakes_nobody(cache: Cache) -> None:
    before = condition("Available", "False", "ServerUnreachable", "refused")
    after = condition("Available", "False", "ServerUnreachable", "timed out")
    cluster = changed(a_cluster(), status=before)
    cache.put("DatabaseCluster", cluster)
    assert put(cache, "DatabaseCluster", changed(cluster, status=after)) == set()


@pytest.mark.parametrize("edit", [{"generation": 2}, {"deletionTimestamp": DELETED_AT}])
def test_cluster_edit_wakes_itself_and_its_objects(cache: Cache, edit: Json) -> None:
    woken = put(cache, "DatabaseCluster", changed(a_cluster(), **edit))
    assert woken == ON_MAIN | {cluster_key()}


EVERYTHING = {"tables": [{"name": "*", "privileges": ["SELECT"]}]}


def permitted(name: str, schema: Json, *, database: str = "orders") -> Json:
    role = a_role(name, namespace="depot")
    schemas = [{"name": "app", **schema}]
    role["spec"]["permissions"] = [{"database": database, "schemas": schemas}]
    return role


def change_of_cluster(cache: Cache, spec: Json, **metadata: Any) -> Change:
    cluster = a_cluster()
    edited = {**cluster, "spec": cluster["spec"] | spec}
    change = cache.put("DatabaseCluster", changed(edited, generation=2, **metadata))
    assert change is not None
    return change


def outside(change: Change, cache: Cache) -> set[Key]:
    return outside_wakes(change, wakes(change, cache), cache)


FIELDS = {str(field.alias) for field in DatabaseClusterSpec.model_fields.values()}
RULES = {"namePrefix", "resyncInterval"} | {
    name for name in FIELDS if name.startswith("allowed")
}


@pytest.mark.parametrize("field", sorted(RULES))
def test_other_rules_of_a_cluster_leave_what_is_inside(
    cache: Cache, field: str
) -> None:
    change = change_of_cluster(cache, {field: {"name": "other"}})
    assert outside(change, cache) == ON_MAIN


@pytest.mark.parametrize("field", sorted(FIELDS - RULES))
def test_other_fields_of_a_cluster_may_concern_what_is_inside(
    cache: Cache, field: str
) -> None:
    edit = {"namePrefix": "shop", field: {"name": "other"}}
    assert outside(change_of_cluster(cache, edit), cache) == set()


def test_who_has_privileges_on_all_there_will_be_goes_by_rules_for_others(
    cache: Cache,
) -> None:
    cache.put("DatabaseRole", permitted("follower", EVERYTHING))
    change = change_of_cluster(cache, {"allowedOwners": ["crew"]})
    assert role_key("follower", "depot") in wakes(change, cache)
    assert outside(change, cache) == ON_MAIN


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"annotations": {f"{GROUP}/reconcile": "Plan"}}, id="pause"),
        pytest.param({"status": {"server": {"versionNum": 1}}}, id="server"),
        pytest.param({"deletionTimestamp": DELETED_AT}, id="deletion"),
        pytest.param({"uid": "another"}, id="successor"),
    ],
)
def test_what_else_changes_of_a_cluster_may_concern_what_is_inside(
    cache: Cache, edit: Json
) -> None:
    change = change_of_cluster(cache, {"namePrefix": "shop"}, **edit)
    assert outside(change, cache) == set()


@pytest.mark.parametrize(
    ("spec", "is_outside"),
    [({"namePrefix": "shop"}, True), ({"ownerId": "other"}, False)],
    ids=["rules", "owner-id"],
)
def test_feed_has_objects_looked_at_from_outside_for_other_rules_only(
    cache: Cache, spec: Json, *, is_outside: bool
) -> None:
    woken: dict[Key, bool] = {}

    def wake(key: Key, *, ahead: bool = False, outside: bool = False) -> None:
        assert not ahead
        woken[key] = outside

    cluster = a_cluster()
    edited = {**cluster, "spec": cluster["spec"] | spec}
    feed = Feed(cache, wake=wake, operator_namespace="operators")
    feed.event("DatabaseCluster", "MODIFIED", changed(edited, generation=2))
    assert woken.pop(cluster_key()) is False
    assert woken == dict.fromkeys(ON_MAIN, is_outside)


def test_changes_of_others_may_concern_what_is_inside(cache: Cache) -> None:
    change = cache.put("DatabaseRole", changed(APP, generation=2))
    assert change is not None
    assert outside(change, cache) == set()


def test_cluster_that_comes_or_goes_wakes_its_objects(cache: Cache) -> None:
    everybody = ON_MAIN | {cluster_key()}
    assert remove(cache, "DatabaseCluster", a_cluster()) == everybody
    assert put(cache, "DatabaseCluster", a_cluster(uid="2nd", version=9)) == everybody


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"generation": 2}, id="another-spec"),
        pytest.param({"deletionTimestamp": DELETED_AT}, id="deletion-begins"),
        pytest.param({"status": condition("Ready", "True", "Reconciled")}, id="ready"),
        pytest.param({"status": {"oid": 16384}}, id="made"),
    ],
)
def test_database_wakes_roles_that_name_it_and_those_that_go(
    cache: Cache, edit: Json
) -> None:
    woken = put(cache, "Database", changed(ORDERS, **edit))
    assert woken - {database_key("orders")} == {role_key("app"), role_key("going")}


def test_database_that_goes_wakes_roles_that_name_it(cache: Cache) -> None:
    assert role_key("app") in remove(cache, "Database", ORDERS)


def test_database_wakes_its_rivals_for_the_name(cache: Cache) -> None:
    rival = a_database("rival", database="orders", namespace="depot")
    assert database_key("orders") in put(cache, "Database", rival)
    assert database_key("orders") in remove(cache, "Database", rival)


def test_database_on_another_server_wakes_no_rival(cache: Cache) -> None:
    twin = a_database("twin", database="orders", cluster="other")
    assert put(cache, "Database", twin) == {database_key("twin")}


def test_role_wakes_its_rivals_for_the_name(cache: Cache) -> None:
    rival = a_role("rival", role="app", namespace="depot")
    assert role_key("app") in put(cache, "DatabaseRole", rival)
    edited = changed(rival, generation=2)
    assert role_key("app") in put(cache, "DatabaseRole", edited)
    assert role_key("app") in remove(cache, "DatabaseRole", rival)


def test_role_status_wakes_nobody(cache: Cache) -> None:
    cache.put("DatabaseRole", a_role("rival", role="app", namespace="depot"))
    ready = condition("Ready", "True", "Reconciled")
    assert put(cache, "DatabaseRole", changed(APP, status=ready)) == set()


def test_database_with_other_owners_wakes_who_is_granted_all_there_will_be(
    cache: Cache,
) -> None:
    """Its edit was too early: the owners change when it is worked on."""
    cache.put("DatabaseRole", permitted("reader", EVERYTHING))
    ready = condition("Ready", "True", "Reconciled")
    before = changed(ORDERS, status={**ready, "observedGeneration": 1})
    cache.put("Database", before)
    after = changed(before, status={**ready, "observedGeneration": 2})
    assert put(cache, "Database", after) == {role_key("reader", "depot")}


def test_database_with_other_parts_pending_wakes_who_is_granted_all_there_will_be(
    cache: Cache,
) -> None:
    """One of its owners may be let in while something else is still refused."""
    cache.put("DatabaseRole", permitted("reader", EVERYTHING))
    said = [
        condition("Ready", "False", "PartiallyApplied", message)
        for message in ("two parts are refused", "one part is refused")
    ]
    before = changed(ORDERS, status=said[0])
    cache.put("Database", before)
    woken = put(cache, "Database", changed(before, status=said[1]))
    assert role_key("reader", "depot") in woken


def test_role_that_may_create_wakes_those_who_are_granted_all_there_is(
    cache: Cache,
) -> None:
    cache.put("DatabaseRole", permitted("reader", EVERYTHING))
    cache.put("DatabaseRole", permitted("other", EVERYTHING, database="stock"))
    cache.put("DatabaseRole", permitted("narrow", {"tables": [{"name": "a"}]}))
    writer = permitted("writer", {"privileges": ["USAGE", "CREATE"]})
    cache.put("DatabaseRole", writer)
    ready = condition("Ready", "True", "Reconciled")
    reader = {role_key("reader", "depot")}
    settled = changed(writer, status=ready)
    assert put(cache, "DatabaseRole", settled) == reader
    again = changed(settled, status={**ready, "observedGeneration": 2})
    assert put(cache, "DatabaseRole", again) == reader
    counted = changed(again, status={**again["status"], "grants": {"applied": 3}})
    assert put(cache, "DatabaseRole", counted) == set()


def test_role_that_may_create_by_its_groups_wakes_those_who_are_granted_all_there_is(
    cache: Cache,
) -> None:
    def member(name: str, *groups: str, **spec: Any) -> Json:
        role = a_role(name)
        role["spec"]["memberOf"] = [{"role": group} for group in groups]
        role["spec"].update(spec)
        return role

    def on_orders(schema: Json) -> Json:
        schemas = [{"name": "app", **schema}]
        return {"permissions": [{"database": "orders", "schemas": schemas}]}

    everything = on_orders(EVERYTHING)
    cache.put("DatabaseRole", member("reader", **everything))
    writers = on_orders({"privileges": ["CREATE"]})
    # Nobody is kept from writing a circle, which PostgreSQL refuses.
    cache.put("DatabaseRole", member("writers", "staff", **writers))
    cache.put("DatabaseRole", member("staff", "writers"))
    joined = member("writer", "staff", "missing")
    cache.put("DatabaseRole", joined)
    ready = condition("Ready", "True", "Reconciled")
    woken = put(cache, "DatabaseRole", changed(joined, status=ready))
    assert woken == {role_key("reader")}
    # And so it does when it has left, of which no object says anything any more.
    gone = member("writer")
    assert creator_wakes(gone, cache, closed=[], left=["staff"]) == woken
    assert creator_wakes(gone, cache, closed=["orders"], left=[]) == woken
    assert creator_wakes(gone, cache, closed=["stock"], left=["missing"]) == set()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"owner": "app"}, id="owner"),
        pytest.param({"schemas": [{"name": "s", "owner": "app"}]}, id="schema-owner"),
        pytest.param({"schemas": [{"name": "s", "creators": ["app"]}]}, id="creator"),
    ],
)
def test_database_waits_for_the_roles_that_it_names(cache: Cache, spec: Json) -> None:
    cache.put("Database", a_database("owned", spec=spec))
    cache.put("Database", a_database("far", spec=spec, cluster="other"))
    made = changed(APP, status={"oid": 16384})
    assert put(cache, "DatabaseRole", made) == {database_key("owned")}
    ready = {**condition("Ready", "True", "Reconciled"), "oid": 16384}
    assert put(cache, "DatabaseRole", changed(made, status=ready)) == set()
    assert database_key("owned") in remove(cache, "DatabaseRole", made)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"deletionTimestamp": DELETED_AT}, id="deletion-begins"),
        pytest.param({"status": {"oid": 16384}}, id="made"),
    ],
)
def test_role_wakes_those_that_are_to_be_its_members(cache: Cache, edit: Json) -> None:
    member = a_role("member", namespace="depot")
    member["spec"]["memberOf"] = [{"role": "app"}]
    cache.put("DatabaseRole", member)
    woken = put(cache, "DatabaseRole", changed(APP, **edit))
    assert woken - {role_key("app")} == {role_key("member", "depot")}
    assert role_key("member", "depot") in remove(cache, "DatabaseRole", APP)


def test_database_waits_for_the_one_that_it_is_a_copy_of(cache: Cache) -> None:
    cache.put("Database", a_database("copy", spec={"template": "orders"}))
    made = changed(ORDERS, status={"oid": 16384})
    assert database_key("copy") in put(cache, "Database", made)


def test_databases_that_share_a_service_follow_its_members(cache: Cache) -> None:
    first, second = (a_database(name, service="db") for name in ("first", "second"))
    far = a_database("third", service="db", namespace="depot")
    for database in (first, far):
        cache.put("Database", database)
    assert database_key("first") in put(cache, "Database", second)
    leaving = changed(second, deletionTimestamp=DELETED_AT)
    woken = put(cache, "Database", leaving)
    assert database_key("first") in woken
    assert database_key("third", "depot") not in woken


def test_database_status_does_not_wake_those_that_share_its_service(
    cache: Cache,
) -> None:
    first, second = (a_database(name, service="db") for name in ("first", "second"))
    for database in (first, second):
        cache.put("Database", database)
    woken = put(cache, "Database", changed(second, status={"oid": 16384}))
    assert database_key("first") not in woken


def test_last_object_lets_its_terminating_cluster_go(cache: Cache) -> None:
    terminating = changed(a_cluster(), deletionTimestamp=DELETED_AT)
    assert cluster_key() not in remove(cache, "Database", STOCK)
    cache.put("DatabaseCluster", terminating)
    assert cluster_key() in remove(cache, "Database", ORDERS)
    assert cluster_key() in remove(cache, "DatabaseRole", APP)


def test_gone_object_is_woken_once_more_to_be_forgotten(cache: Cache) -> None:
    assert cluster_key() in remove(cache, "DatabaseCluster", a_cluster())


def test_object_that_took_a_name_counts_as_one_gone_and_one_come(cache: Cache) -> None:
    successor = a_database("orders", database="renamed", uid="second", version=9)
    woken = put(cache, "Database", successor)
    assert woken >= {database_key("orders"), role_key("app")}


def test_namespace_wakes_its_objects(cache: Cache) -> None:
    going = changed(an_object("shop"), deletionTimestamp=DELETED_AT)
    shop = {database_key("orders"), database_key("far")}
    shop |= {role_key("app"), role_key("going")}
    assert put(cache, "Namespace", going) == shop
    assert remove(cache, "Namespace", going) == shop


def test_namespace_whose_labels_change_wakes_its_objects(cache: Cache) -> None:
    """They may be let in, or shut out, by them."""
    shop = {database_key("orders"), database_key("far")}
    shop |= {role_key("app"), role_key("going")}
    labelled = changed(an_object("shop"), labels={"team": "a"})
    assert put(cache, "Namespace", labelled) == shop
    assert put(cache, "Namespace", changed(labelled, annotations={"a": "b"})) == set()


def test_secret_wakes_roles_of_its_namespace_only(cache: Cache) -> None:
    cache.put("DatabaseRole", a_role("near", secret="pw"))
    cache.put("DatabaseRole", a_role("far", secret="pw", namespace="depot"))
    woken = secret_wakes("shop", "pw", cache, operator_namespace="operators")
    assert woken == {role_key("near")}


def test_connection_secret_and_its_database_wake_their_role(cache: Cache) -> None:
    role = a_role("near")
    role["spec"]["connectionSecret"] = {"name": "conn", "database": "orders"}
    cache.put("DatabaseRole", role)
    woken = secret_wakes("shop", "conn", cache, operator_namespace="operators")
    assert woken == {role_key("near")}
    edited = changed(ORDERS, generation=2)
    assert role_key("near") in put(cache, "Database", edited)


def test_only_a_secret_that_changed_lets_its_roles_go_ahead(cache: Cache) -> None:
    woken: list[tuple[Key, bool]] = []

    def wake(key: Key, *, ahead: bool = False, outside: bool = False) -> None:
        assert not outside
        woken.append((key, ahead))

    feed = Feed(cache, wake=wake, operator_namespace="operators")
    cache.put("DatabaseRole", a_role("new", secret="pw"))

    feed.secret("shop", "pw", is_listed=False)
    feed.secret("shop", "pw")

    assert woken == [(role_key("new"), False), (role_key("new"), True)]


def test_secret_wakes_clusters_whose_dsn_it_holds(cache: Cache) -> None:
    named = {"connection": {"name": "dsn", "namespace": "platform"}}
    cache.put("DatabaseCluster", an_object("named", named))
    cache.put(
        "DatabaseCluster",
        an_object("explicit", {"connection": {"name": "dsn", "namespace": "ops"}}),
    )
    own = secret_wakes("ops", "dsn", cache, operator_namespace="ops")
    assert own == {cluster_key(name) for name in ("main", "other", "explicit")}
    platform = secret_wakes("platform", "dsn", cache, operator_namespace="ops")
    assert platform == {cluster_key("named")}
    assert secret_wakes("ops", "else", cache, operator_namespace="ops") == set()


def test_waking_is_the_same_for_news_that_come_in_one_change() -> None:
    cache = Cache()
    cache.put("Database", a_database("orders"))
    assert wakes(Change("Database", None, a_database("orders")), cache) == {
        database_key("orders")
    }
