"""A sweep wakes what is missing on a server or is not what it was. Pure."""

from datetime import timedelta

import pytest

from pg_operator.postgres.observe_digests import Digests
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.sweep import Sweeps, changed
from pg_operator.runtime.cache import Cache
from tests.unit.runtime_bed import a_database, a_role, database_key, role_key

READY = {
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True", "reason": "Reconciled"}],
}
ROLE, DATABASE = ("DatabaseRole", "app"), ("Database", "orders")


def swept(*objects: Object, before: Digests, now: Digests) -> set[Key]:
    cache = Cache()
    for obj in objects:
        cache.put("DatabaseRole" if "roleName" in obj["spec"] else "Database", obj)
    return set(changed(cache, "main", before=before, now=now))


def the_role(**more: object) -> Object:
    role = a_role("one", role="app")
    return {**role, "status": READY, **more}


def the_database() -> Object:
    return {**a_database("two", database="orders"), "status": READY}


def test_nothing_is_looked_at_when_nothing_changed() -> None:
    same: Digests = {ROLE: 1, DATABASE: 2}  # type: ignore[dict-item]
    assert swept(the_role(), the_database(), before=same, now=same) == set()


def test_only_what_changed_is_looked_at() -> None:
    before: Digests = {ROLE: 1, DATABASE: 2}  # type: ignore[dict-item]
    now: Digests = {ROLE: 1, DATABASE: 3}  # type: ignore[dict-item]
    found = swept(the_role(), the_database(), before=before, now=now)
    assert found == {database_key("two")}


def test_ready_object_that_is_missing_is_looked_at_even_if_it_was_never_seen() -> None:
    found = swept(the_role(), the_database(), before={}, now={})
    assert found == {role_key("one"), database_key("two")}


@pytest.mark.parametrize("status", [{}, {**READY, "observedGeneration": 0}])
def test_object_that_is_still_worked_on_is_left_to_that(status: object) -> None:
    assert swept(the_role(status=status), before={}, now={}) == set()


def test_what_came_into_being_is_taken_for_our_work() -> None:
    now: Digests = {ROLE: 1}  # type: ignore[dict-item]
    assert swept(the_role(), before={}, now=now) == set()


def test_objects_of_another_server_are_not_concerned() -> None:
    role = {**a_role("one", role="app", cluster="other"), "status": READY}
    assert swept(role, before={}, now={}) == set()


def test_each_server_has_its_turn_at_once_and_then_after_the_interval() -> None:
    sweeps = Sweeps(
        Cache(),
        wake=lambda _: None,
        interval=timedelta(seconds=60),
        jitter=iter((0.5, 2.0, 1.0)).__next__,
    )
    assert sweeps.due(["a", "b"], now=0) == ["a", "b"]
    assert sweeps.due(["a", "b"], now=29) == []
    assert sweeps.due(["a", "b"], now=30) == ["a"]
