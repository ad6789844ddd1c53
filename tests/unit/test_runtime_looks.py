"""Who is looked at from outside only: whoever rested, and was woken for no more."""

import pytest

from pg_operator.reconcilers.outcome import Key
from tests.unit.runtime_bed import Bed

ORDERS = Key("Database", "shop", "orders")


@pytest.fixture
def bed() -> Bed:
    return Bed()


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
