"""What a DatabaseCluster's spec says about the pace of work."""

from typing import Any

import pytest

from pg_operator.runtime.cache import Cache
from pg_operator.runtime.limits import NO_SERVER, Limits
from tests.unit.runtime_bed import (
    a_cluster,
    a_database,
    a_role,
    cluster_key,
    database_key,
    role_key,
)


def limits(spec: dict[str, Any] | None = None, *, jitter: float = 1.0) -> Limits:
    cache = Cache()
    cluster = a_cluster()
    cluster["spec"].update(spec or {})
    cache.put("DatabaseCluster", cluster)
    cache.put("Database", a_database("orders"))
    cache.put("Database", a_database("lost", cluster="nowhere"))
    return Limits(cache, workers=32, jitter=lambda: jitter)


def test_objects_are_grouped_by_the_server_they_need() -> None:
    assert limits().group_of(database_key("orders")) == "main"
    assert limits().group_of(database_key("lost")) == "nowhere"


def test_probe_does_not_queue_behind_the_objects_that_wait_for_it() -> None:
    assert limits().group_of(cluster_key()) == NO_SERVER
    assert limits().group_of(database_key("gone")) == NO_SERVER


def test_probes_of_hanging_servers_leave_room_for_work() -> None:
    assert limits().limit_of(NO_SERVER) < 32


@pytest.mark.parametrize(
    ("spec", "limit"),
    [({}, 2), ({"maxConnections": 9}, 4), ({"maxConnections": 1}, 1)],
)
def test_limit_leaves_each_key_two_of_the_clusters_connections(
    spec: dict[str, Any], limit: int
) -> None:
    assert limits(spec).limit_of("main") == limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("90s", 90, id="as-written"),
        pytest.param("1s", 5, id="not-below-the-least"),
        pytest.param("999h", 86400, id="not-above-the-most"),
        pytest.param("soon", 600, id="the-default-for-what-is-no-duration"),
    ],
)
def test_resync_comes_at_the_clusters_interval_and_no_later_than_a_fifth_more(
    text: str, seconds: int
) -> None:
    pace = limits({"resyncInterval": text})
    for key in (cluster_key(), database_key("orders")):
        for now in (0.0, 0.3 * seconds, 12345.6):
            wait = pace.until_resync(key, now=now)
            assert 0.2 * seconds <= wait <= 1.2 * seconds
            again = pace.until_resync(key, now=now + wait + 0.001)
            assert again == pytest.approx(seconds, abs=0.002)
            assert 0 <= pace.until_entered(key, now=now) <= seconds


def test_resync_without_a_cluster_comes_at_the_default_interval() -> None:
    wait = limits().until_resync(database_key("lost"), now=7.0)
    assert 0.2 * 600 <= wait <= 1.2 * 600


def test_resyncs_in_one_database_come_together_and_others_at_other_times() -> None:
    cache = Cache()
    cache.put("Database", a_database("orders"))
    cache.put("DatabaseRole", a_role("app", "orders"))
    cache.put("Database", a_database("bills"))
    pace = Limits(cache, workers=32, jitter=lambda: 1.0)
    orders, app, bills = (
        now + pace.until_resync(key, now=now)
        for key, now in (
            (database_key("orders"), 100.0),
            (role_key("app"), 432.1),
            (database_key("bills"), 100.0),
        )
    )
    assert min((orders - app) % 600, (app - orders) % 600) == pytest.approx(0)
    assert abs(bills - orders) > 1


def test_place_is_the_database_that_is_entered() -> None:
    cache = Cache()
    cache.put("Database", a_database("orders"))
    cache.put("DatabaseRole", a_role("app", "orders", "audit"))
    cache.put("DatabaseRole", a_role("group"))
    places = Limits(cache, workers=32, jitter=lambda: 1.0)
    assert places.place_of(database_key("orders")) == places.place_of(role_key("app"))
    assert places.place_of(role_key("group")) == role_key("group")
    assert places.place_of(role_key("gone")) == role_key("gone")
