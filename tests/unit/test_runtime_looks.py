"""Who is looked at from outside only: whoever rested, and was woken for no more."""

from dataclasses import replace

import pytest

from pg_operator.api.specs import FINALIZER
from pg_operator.reconcilers.outcome import Key, Outcome
from tests.unit.runtime_bed import Bed, a_cluster, a_database, changed

ORDERS = Key("Database", "shop", "orders")
READY = {
    "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}],
    "observedGeneration": 1,
}


@pytest.fixture
def bed() -> Bed:
    """Where `ORDERS` rests, on a DatabaseCluster that is as it was probed."""
    bed = Bed()
    cluster = changed(a_cluster(), status=READY, generation=1)
    bed.cache.put("DatabaseCluster", cluster)
    bed.cache.put("Database", a_database("orders"))
    return bed


def until_resync(bed: Bed) -> float:
    """Return in how many seconds, rounded up, it is to be looked at whole."""
    return bed.limits.until_entered(ORDERS, now=bed.now().timestamp()) + 0.01


def is_whole(bed: Bed) -> bool:
    """Take the one key that waits, and tell how it is to be looked at."""
    assert bed.backlog.take() == ORDERS
    return bed.looks.of(ORDERS) is None


def test_key_that_rested_is_looked_at_from_outside_once(bed: Bed) -> None:
    bed.looks.wake(ORDERS, outside=True)
    assert not is_whole(bed)
    bed.backlog.done(ORDERS)
    bed.looks.wake(ORDERS)
    assert is_whole(bed)


def test_key_that_is_woken_for_more_meanwhile_is_looked_at_whole(bed: Bed) -> None:
    bed.looks.wake(ORDERS, outside=True)
    bed.looks.wake(ORDERS)
    bed.looks.wake(ORDERS, outside=True)
    assert is_whole(bed)


def test_key_that_something_else_is_to_be_done_of_is_looked_at_whole(bed: Bed) -> None:
    bed.queue.retry(ORDERS)
    bed.looks.wake(ORDERS, outside=True)
    assert is_whole(bed)


def test_key_that_changed_under_a_look_is_looked_at_whole_again(bed: Bed) -> None:
    bed.looks.wake(ORDERS)
    assert is_whole(bed)
    bed.looks.wake(ORDERS, outside=True)
    bed.backlog.done(ORDERS)
    assert is_whole(bed)


def test_what_waits_after_a_leader_that_left_all_settled_was_settled(bed: Bed) -> None:
    bed.looks.wake(ORDERS)
    bed.looks.begin_settled()
    assert not is_whole(bed)


def test_what_waits_on_a_cluster_that_was_changed_since_is_looked_at_whole(
    bed: Bed,
) -> None:
    edited = changed(a_cluster(), status=READY, generation=2, resourceVersion="9")
    bed.cache.put("DatabaseCluster", edited)
    bed.looks.wake(ORDERS)
    bed.looks.begin_settled()
    assert is_whole(bed)


def test_key_whose_resync_comes_while_it_waits_is_looked_at_whole(bed: Bed) -> None:
    bed.looks.wake(ORDERS, outside=True)
    bed.clock.time += until_resync(bed)
    assert is_whole(bed)


async def test_resync_that_comes_during_a_look_from_outside_follows_it(
    bed: Bed,
) -> None:
    async def look(key: Key) -> Outcome:
        assert bed.looks.of(key) is not None
        bed.clock.time += 1
        return Outcome(is_settled=True)

    obj = bed.cache.get(ORDERS)
    assert obj is not None
    bed.cache.put("Database", changed(obj, finalizers=[FINALIZER]))
    bed.clock.time += until_resync(bed) - 0.5
    worker = replace(bed.worker, reconcile=look)
    bed.looks.wake(ORDERS, outside=True)
    assert bed.backlog.take() == ORDERS
    await worker.work(ORDERS)
    assert bed.backlog.next_moment() == bed.clock()
