"""Which key runs when, and never twice at a time: a queue's laws. No I/O, no clock."""

import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from pg_operator.runtime.turns import Line

FIRST_BACKOFF: Final = 1.0
LONGEST_BACKOFF: Final = 300.0
# Seconds that an unhurried key has others wait: tenants can make their looks slow.
LONG_RUN: Final = 1.0
# 2 to this power is beyond the longest backoff; larger ones would only overflow.
_MOST_DOUBLINGS: Final = 10
K = TypeVar("K", bound=Hashable)


class _Unhurried(NamedTuple):
    """The keys of a group for which no moment is better than another."""

    group: Hashable


class _Due(NamedTuple):
    """When a key is to be queued, and how."""

    moment: float
    unhurried: bool


_NEVER: Final = _Due(math.inf, unhurried=True)


class Backlog(Generic[K]):
    """The queue's state and its laws; told the time (in seconds), it never waits.

    A key is queued once however often it is added, runs once at a time, and runs again
    when it was added while it ran. Groups take turns, each with at most `limit_of`
    running keys, so that one slow group never holds up the others. The unhurried keys
    of a group take turns with its others, one of them at a time, save that a long run
    keeps the next one waiting no longer than `LONG_RUN`. In its group a key
    added with `ahead` goes before those that were not; among either of them, keys of
    different `turn_of` alternate, so that many of one hold up the others by one turn,
    also many that go ahead.

    A place is what `place_of` returns of a key: where its work is, as in a database. A
    turn is for several keys of one place, which is entered once for them; two of them
    run at a time only when nothing else waits, for one would wait for the other there.
    Of keys that go ahead each has a turn of its own, but waits for its place as well.

    `jitter` is called for a factor around 1 with which delays are multiplied.
    """

    def __init__(
        self,
        *,
        capacity: int,
        group_of: Callable[[K], Hashable],
        turn_of: Callable[[K], Hashable],
        place_of: Callable[[K], Hashable],
        limit_of: Callable[[Hashable], int],
        jitter: Callable[[], float],
    ) -> None:
        self._capacity = capacity
        self._group_of = group_of
        self._turn_of = turn_of
        self._place_of = place_of
        self._limit_of = limit_of
        self._jitter = jitter
        # Groups in the order of their turns; a group with nothing queued is absent.
        self._queued: OrderedDict[Hashable, Line[K]] = OrderedDict()
        self._placed: dict[K, Hashable] = {}
        self._running: dict[K, tuple[Hashable, Hashable]] = {}
        # How many keys run in a group, and at a place.
        self._busy: Counter[Hashable] = Counter()
        self._visited: Counter[Hashable] = Counter()
        # As told last, and until when running keys keep unhurried ones waiting.
        self._now = 0.0
        self._counts_until: dict[K, float] = {}
        # With whether it is to go ahead.
        self._dirty: dict[K, bool] = {}
        self._due: dict[K, _Due] = {}
        # May hold moments that are no longer in `_due`; those are passed over.
        self._moments: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._placed)

    @property
    def queued(self) -> tuple[K, ...]:
        """The keys that wait for their turn."""
        return tuple(self._placed)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits or runs, and nothing that failed is left to do."""
        return not (self._placed or self._running or self._failures)

    def is_resting(self, key: K) -> bool:
        """Tell whether nothing is left to do of a key but an unhurried look in time."""
        if key in self._placed or key in self._running:
            return False
        return self._due.get(key, _NEVER).unhurried

    @property
    def running(self) -> frozenset[K]:
        """The keys that were taken and are not done."""
        return frozenset(self._running)

    def add(self, key: K, *, ahead: bool = False) -> bool:
        """Queue a key; tell whether that was news."""
        if key in self._running:
            is_new = key not in self._dirty
            self._dirty[key] = ahead or self._dirty.get(key, False)
            return is_new
        is_new = key not in self._placed
        if not is_new and isinstance(self._placed[key], _Unhurried):
            self._drop(key)
        group = self._placed.setdefault(key, self._group_of(key))
        self._line(group).add(key, ahead=ahead)
        return is_new

    def add_after(
        self, key: K, delay: float, *, now: float, unhurried: bool = False
    ) -> None:
        """Queue a key later, or at the earlier moment that it already has.

        It is unhurried then if nobody wanted it otherwise.
        """
        known = self._due.get(key, _NEVER)
        moment = min(now + delay, known.moment)
        self._due[key] = _Due(moment, unhurried and known.unhurried)
        if moment < known.moment:
            heapq.heappush(self._moments, (moment, next(self._order), key))

    def retry(self, key: K, *, now: float, at_least: float = 0.0) -> float:
        """Queue a key after its backoff, which doubles each time; return the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        doubled = FIRST_BACKOFF * (1 << min(failures, _MOST_DOUBLINGS))
        delay = max(min(doubled, LONGEST_BACKOFF) * self._jitter(), at_least)
        self.add_after(key, delay, now=now)
        return delay

    def forget(self, key: K) -> None:
        """Begin the next backoff of a key at its shortest."""
        self._failures.pop(key, None)

    def promote(self, *, now: float) -> list[K]:
        """Queue the keys whose moment has come; return those that were not queued."""
        promoted = []
        self._now = now
        while self._moments and self._moments[0][0] <= now:
            moment, _, key = heapq.heappop(self._moments)
            due = self._due.get(key)
            if due is not None and due.moment == moment:
                del self._due[key]
                add = self._add_unhurried if due.unhurried else self.add
                if add(key):
                    promoted.append(key)
        return promoted

    def take(self) -> K | None:
        """Take the next key that may run now.

        What was scheduled for it is dropped: the run that begins says what is next.
        """
        if len(self._running) >= self._capacity:
            return None
        group = next(filter(self._has_room, self._queued), None)
        if group is None:
            return None
        line = self._queued[group]
        key, place = line.take(self._visited)
        if line:
            self._queued.move_to_end(group)
        else:
            del self._queued[group]
        del self._placed[key]
        self._due.pop(key, None)
        self._running[key] = group, place
        self._busy[group] += 1
        if isinstance(group, _Unhurried):
            self._counts_until[key] = self._now + LONG_RUN
        self._visited[place] += 1
        return key

    def done(self, key: K) -> None:
        """End the run of a taken key; queue it again if it was added meanwhile."""
        group, place = self._running.pop(key)
        for counter, one in ((self._busy, group), (self._visited, place)):
            counter[one] -= 1
            if not counter[one]:
                del counter[one]
        self._counts_until.pop(key, None)
        ahead = self._dirty.pop(key, None)
        if ahead is not None:
            self.add(key, ahead=ahead)

    def next_moment(self) -> float | None:
        """Return when the next key may be taken though no other is added or done."""
        moments = [until for group in self._queued for until in self._counting(group)]
        while self._moments:
            moment, _, key = self._moments[0]
            due = self._due.get(key)
            if due is not None and due.moment == moment:
                moments.append(moment)
                break
            heapq.heappop(self._moments)
        return min(moments, default=None)

    def _add_unhurried(self, key: K) -> bool:
        """Queue a key that may wait for the others; tell whether that was news."""
        if key in self._running:
            return self.add(key)
        if key in self._placed:
            return False
        group = self._placed[key] = _Unhurried(self._group_of(key))
        self._line(group).add(key, ahead=False)
        return True

    def _line(self, group: Hashable) -> Line[K]:
        """Return where the keys of a group wait, which is there from now on."""
        if group not in self._queued:
            line = Line(turn_of=self._turn_of, place_of=self._place_of)
            self._queued[group] = line
        return self._queued[group]

    def _drop(self, key: K) -> None:
        """Have a queued key wait no more."""
        group = self._placed.pop(key)
        line = self._queued[group]
        line.discard(key)
        if not line:
            del self._queued[group]

    def _has_room(self, group: Hashable) -> bool:
        if isinstance(group, _Unhurried):
            return not self._counting(group) and self._has_room(group.group)
        busy = self._busy[group] + self._busy[_Unhurried(group)]
        return busy < max(1, self._limit_of(group))

    def _counting(self, group: Hashable) -> list[float]:
        """Return until when running keys keep others of an unhurried group waiting."""
        return [
            until
            for key, until in self._counts_until.items()
            if until > self._now and self._running[key][0] == group
        ]
