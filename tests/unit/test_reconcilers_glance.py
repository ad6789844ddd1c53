"""Who is looked at from outside only: once each, and nobody who was woken."""

from pg_operator.reconcilers.glance import Glances
from pg_operator.reconcilers.outcome import Key

ORDERS, BILLS = (Key("Database", "shop", name) for name in ("orders", "bills"))


def test_key_has_one_glance() -> None:
    glances = Glances([ORDERS])
    assert glances.take(ORDERS)
    assert not glances.take(ORDERS)


def test_key_has_one_more_when_it_is_added() -> None:
    glances = Glances()
    glances.add(ORDERS)
    assert glances.take(ORDERS)
    assert not glances.take(ORDERS)


def test_key_that_was_woken_or_came_later_has_none() -> None:
    glances = Glances([ORDERS])
    glances.discard(ORDERS)
    glances.discard(BILLS)
    assert not glances.take(ORDERS)
    assert not glances.take(BILLS)
