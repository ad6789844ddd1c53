"""Keys of one group that wait, in the order in which they are taken."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Hashable
from itertools import islice
from typing import Any, Final, Generic, TypeVar

# How many keys of one place may run before it is the turn of others. It is enough for
# what most databases have, so that each is entered once.
MOST_IN_A_TURN: Final = 8
# How often the turn that has waited longest is passed over because its place is busy: a
# tenant could keep the place of another one so for ever.
MOST_PASSED_OVER: Final = 8
# How many keys that wait are looked at for one whose place is not busy: thousands may
# wait for one place.
MOST_LOOKED_AT: Final = 32

Spot = tuple[Hashable, Hashable]
"""Whose turn it is when a key is taken, and the place that the key's work is at."""

K = TypeVar("K", bound=Hashable)


class _Turns(Generic[K]):
    """Keys that wait, each once; those whose turns differ alternate.

    A turn is for one place: for the keys that wait for it, or the first few of them.
    """

    def __init__(self, spot_of: Callable[[K], Spot]) -> None:
        self._spot_of = spot_of
        self._spots: dict[K, Spot] = {}
        # Turns and their places in the order of waiting; none of them is empty.
        self._turns: OrderedDict[Hashable, OrderedDict[Hashable, dict[K, None]]]
        self._turns = OrderedDict()
        # How many were taken in the present turn of a spot.
        self._taken: Counter[Spot] = Counter()
        self._passed_over = 0

    def __bool__(self) -> bool:
        return bool(self._spots)

    def __contains__(self, key: K) -> bool:
        return key in self._spots

    def add(self, key: K) -> None:
        """Let a key wait; one that waits already keeps its place."""
        if key not in self._spots:
            turn, place = self._spots[key] = self._spot_of(key)
            places = self._turns.setdefault(turn, OrderedDict())
            places.setdefault(place, {})[key] = None

    def discard(self, key: K) -> None:
        """Let it wait no more, if it does."""
        if key in self._spots:
            self._remove(key)

    @property
    def first_turn(self) -> Hashable:
        """The turn that has waited longest; there must be one."""
        return next(iter(self._turns))

    def has_free(self, busy: Container[Hashable]) -> bool:
        """Tell whether one of the first keys that wait has a place that is not busy."""
        places = (place for turn in self._turns.values() for place in turn)
        return any(place not in busy for place in islice(places, MOST_LOOKED_AT))

    def has_other(self, turn: Hashable) -> bool:
        """Tell whether a key of another turn waits."""
        return len(self._turns) > (turn in self._turns)

    def take(
        self, busy: Container[Hashable], *, but: Container[Hashable] = ()
    ) -> tuple[K, Hashable]:
        """Remove and return the next key and its place, one not busy if there is one.

        Who had a turn waits until all others had, and turns to pass over, `but`, until
        no other is there.
        """
        turn, place = spot = self._next(busy, but)
        key = next(iter(self._turns[turn][place]))
        self._taken[spot] += 1
        is_over = self._taken[spot] >= MOST_IN_A_TURN
        is_last = self._remove(key)
        if is_over and not is_last:
            del self._taken[spot]
            self._turns[turn].move_to_end(place)
        if (is_over or is_last) and turn in self._turns:
            self._turns.move_to_end(turn)
        return key, place

    def _next(self, busy: Container[Hashable], but: Container[Hashable]) -> Spot:
        turns = [turn for turn in self._turns if turn not in but] or [*self._turns]
        first = turns[0], next(iter(self._turns[turns[0]]))
        free = (
            (turn, place)
            for turn in turns
            for place in self._turns[turn]
            if place not in busy
        )
        spot = next(free, first)
        if spot == first or self._passed_over >= MOST_PASSED_OVER:
            self._passed_over = 0
            return first
        self._passed_over += spot[0] != first[0]
        return spot

    def _remove(self, key: K) -> bool:
        """Remove a key; tell whether it was the last that waited for its place."""
        turn, place = spot = self._spots.pop(key)
        places = self._turns[turn]
        del places[place][key]
        if places[place]:
            return False
        del places[place], self._taken[spot]
        if not places:
            del self._turns[turn]
        return True


class _AtBusy(Generic[K]):
    """The keys whose work is at a place that is busy."""

    def __init__(
        self, place_of: Callable[[K], Hashable], busy: Container[Hashable]
    ) -> None:
        self._place_of = place_of
        self._busy = busy

    def __contains__(self, key: Any) -> bool:
        return self._place_of(key) in self._busy


class Line(Generic[K]):
    """The keys of one group that wait, each once; those ahead go before the others.

    Those ahead that take turns as one keep the order in which they came, wherever
    their work is, save that one whose place is busy lets the next go, one that is not
    ahead too. A turn goes ahead once, and again when one of another turn had its place
    in between: a tenant can have many woken, and as often as it likes.
    """

    def __init__(
        self,
        *,
        turn_of: Callable[[K], Hashable],
        place_of: Callable[[K], Hashable],
    ) -> None:
        self._turn_of = turn_of
        self._place_of = place_of
        self._ahead = _Turns[K](lambda key: (turn_of(key), key))
        self._others = _Turns[K](lambda key: (turn_of(key), place_of(key)))
        # The turns that went ahead since one of the others was taken.
        self._went: set[Hashable] = set()

    def __bool__(self) -> bool:
        return bool(self._ahead or self._others)

    def add(self, key: K, *, ahead: bool) -> None:
        """Let a key wait; one that waits already keeps its place, or goes ahead."""
        if key in self._ahead:
            return
        if ahead:
            self._others.discard(key)
            self._ahead.add(key)
        else:
            self._others.add(key)

    def discard(self, key: K) -> None:
        """Let a key wait no more, if it does."""
        self._ahead.discard(key)
        self._others.discard(key)

    def take(self, busy: Container[Hashable]) -> tuple[K, Hashable]:
        """Remove and return the next key and its place, not a busy one if it can be."""
        at_busy = _AtBusy(self._place_of, busy)
        is_free = self._ahead.has_free(at_busy)
        if not is_free and (not self._ahead or self._others.has_free(busy)):
            self._went.clear()
            return self._others.take(busy)
        turn = self._ahead.first_turn
        if turn in self._went and self._others.has_other(turn):
            self._went.clear()
            return self._others.take(busy, but={turn})
        key, _ = self._ahead.take(at_busy if is_free else ())
        self._went.add(self._turn_of(key))
        return key, self._place_of(key)
