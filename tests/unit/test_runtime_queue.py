"""The laws of the work queue."""

import asyncio
from collections.abc import Callable, Hashable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pg_operator.runtime.backlog import LONG_RUN, LONGEST_BACKOFF, Backlog
from pg_operator.runtime.queue import WorkQueue
from pg_operator.runtime.turns import MOST_IN_A_TURN, MOST_PASSED_OVER
from tests.unit.runtime_bed import Clock

Key = tuple[str, int]
CAPACITY = 3
LIMIT = 2


def a_backlog(
    *,
    capacity: int = 100,
    limit: int = 100,
    factor: float = 1.0,
    turn_of: Callable[[Key], Hashable] = lambda _: None,
    place_of: Callable[[Key], Hashable] = lambda key: key,
) -> Backlog[Key]:
    return Backlog(
        capacity=capacity,
        group_of=lambda key: key[0],
        turn_of=turn_of,
        place_of=place_of,
        limit_of=lambda _: limit,
        jitter=lambda: factor,
    )


def drain(backlog: Backlog[Key]) -> list[Key]:
    taken = []
    while (key := backlog.take()) is not None:
        taken.append(key)
    return taken


def test_key_added_twice_runs_once() -> None:
    backlog = a_backlog()
    assert backlog.add(("a", 1))
    assert not backlog.add(("a", 1))
    assert drain(backlog) == [("a", 1)]


def test_key_added_while_it_runs_runs_once_more_and_only_afterwards() -> None:
    backlog = a_backlog()
    backlog.add(("a", 1))
    backlog.take()
    backlog.add(("a", 1))
    backlog.add(("a", 1))
    assert drain(backlog) == []
    backlog.done(("a", 1))
    assert drain(backlog) == [("a", 1)]
    backlog.done(("a", 1))
    assert drain(backlog) == []


def tens(key: Key) -> int:
    return key[1] // 10


def test_many_keys_of_one_turn_hold_up_another_by_one() -> None:
    backlog = a_backlog(turn_of=tens)
    for number in (*range(10, 15), 20, 21, 30):
        backlog.add(("a", number))
    numbers = [number for _, number in drain(backlog)]
    assert numbers == [10, 20, 30, 11, 21, 12, 13, 14]


def test_keys_of_one_place_run_one_after_the_other_and_then_the_next_place() -> None:
    backlog = a_backlog(limit=2, place_of=tens)
    for number in (10, 20, 30, 11, 21, 12):
        backlog.add(("a", number))
    order = run_in_pairs(backlog)
    assert order == [10, 20, 11, 21, 12, 30]


def test_place_waits_for_nobody_when_all_that_waits_is_there() -> None:
    backlog = a_backlog(limit=2, place_of=tens)
    for number in (10, 11, 12):
        backlog.add(("a", number))
    assert [number for _, number in drain(backlog)] == [10, 11]


def test_place_with_many_keys_holds_up_the_next_by_a_few() -> None:
    backlog = a_backlog(limit=1, place_of=lambda key: key[1] % 100)
    for number in (*range(0, 2000, 100), 1):
        backlog.add(("a", number))
    assert run_in_pairs(backlog).index(1) == MOST_IN_A_TURN


def test_keys_ahead_run_in_their_order_wherever_they_are() -> None:
    backlog = a_backlog(limit=1, place_of=tens)
    for number in (10, 20, 11):
        backlog.add(("a", number), ahead=True)
    assert run_in_pairs(backlog) == [10, 20, 11]


def test_turn_that_is_over_leaves_nothing_behind() -> None:
    backlog = a_backlog(turn_of=tens, place_of=tens)
    for number in (10, 11, 10):
        backlog.add(("a", number))
        backlog.add(("a", number), ahead=True)
    assert [number for _, number in drain(backlog)] == [10, 11]


def run_in_pairs(backlog: Backlog[Key]) -> list[int]:
    """Run everything, ending the older of two runs before the next is taken."""
    order: list[int] = []
    running: list[Key] = []
    while (key := backlog.take()) is not None or running:
        if key is None:
            backlog.done(running.pop(0))
        else:
            order.append(key[1])
            running.append(key)
    return order


def test_keys_ahead_go_before_others_whosever_turn_it_is() -> None:
    backlog = a_backlog(turn_of=tens)
    for number in (10, 11, 20, 21):
        backlog.add(("a", number))
    for number in (11, 12, 21):
        backlog.add(("a", number), ahead=True)
    numbers = [number for _, number in drain(backlog)]
    assert numbers == [11, 21, 20, 12, 10]


def test_many_keys_ahead_of_one_turn_hold_up_another_by_one() -> None:
    backlog = a_backlog(turn_of=tens)
    for number in (10, 11, 12):
        backlog.add(("a", number), ahead=True)
    for number in (13, 14, 20, 30):
        backlog.add(("a", number))
    numbers = [number for _, number in drain(backlog)]
    assert numbers == [10, 20, 11, 30, 12, 13, 14]


def test_keys_that_wait_keep_away_from_where_one_ahead_is() -> None:
    backlog = a_backlog(limit=2, place_of=tens)
    backlog.add(("a", 10), ahead=True)
    for number in (11, 20):
        backlog.add(("a", number))
    assert [number for _, number in drain(backlog)] == [10, 20]


def test_key_ahead_waits_for_its_place_while_others_go() -> None:
    backlog = a_backlog(limit=3, place_of=tens)
    for number in (10, 11, 20):
        backlog.add(("a", number), ahead=True)
    backlog.add(("a", 30))
    assert [number for _, number in drain(backlog)] == [10, 20, 30]
    backlog.done(("a", 10))
    assert backlog.take() == ("a", 11)


def test_key_ahead_waits_for_nobody_when_all_that_waits_is_there() -> None:
    backlog = a_backlog(limit=3, place_of=tens)
    for number in (10, 11):
        backlog.add(("a", number), ahead=True)
    assert [number for _, number in drain(backlog)] == [10, 11]


def test_place_that_others_keep_busy_is_waited_for_so_long_and_no_longer() -> None:
    """A role may name any database first, and so be where another tenant's are."""
    backlog = a_backlog(limit=2, turn_of=lambda key: key[1] // 100, place_of=tenths)
    busy = [("a", 101), ("a", 111)]  # woken over and over, at the place of the third
    beside = [("a", 202), ("a", 213)]
    for key in (*busy, *beside):
        backlog.add(key, ahead=key in busy)
    backlog.add(("a", 301))
    running: list[Key] = []
    for _ in range(20 * MOST_PASSED_OVER):
        running += drain(backlog)
        if ("a", 301) in running:
            return
        key = running.pop(0)
        backlog.done(key)
        backlog.add(key, ahead=key in busy)
    pytest.fail("it waits for ever")


def tenths(key: Key) -> int:
    return key[1] % 10


def test_hanging_group_leaves_room_for_the_others() -> None:
    backlog = a_backlog(capacity=10, limit=2)
    for number in range(20):
        backlog.add(("hanging", number))
    backlog.add(("alive", 1))
    taken = drain(backlog)
    assert ("alive", 1) in taken
    assert len([key for key in taken if key[0] == "hanging"]) == 2


def test_groups_take_turns() -> None:
    backlog = a_backlog()
    for key in [("a", 1), ("a", 2), ("a", 3), ("b", 1)]:
        backlog.add(key)
    assert drain(backlog) == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


def test_key_added_ahead_goes_before_those_that_were_not() -> None:
    backlog = a_backlog()
    for number in range(3):
        backlog.add(("a", number))
    assert backlog.add(("a", 9), ahead=True)
    assert not backlog.add(("a", 2), ahead=True)
    assert not backlog.add(("a", 9))
    assert drain(backlog) == [("a", 9), ("a", 2), ("a", 0), ("a", 1)]


def test_key_added_ahead_takes_no_other_groups_turn() -> None:
    backlog = a_backlog()
    for key in [("a", 1), ("b", 1)]:
        backlog.add(key)
    backlog.add(("b", 2), ahead=True)
    assert drain(backlog) == [("a", 1), ("b", 2), ("b", 1)]


def test_key_added_ahead_while_it_runs_goes_ahead_afterwards() -> None:
    backlog = a_backlog()
    for number in range(2):
        backlog.add(("a", number))
    backlog.take()
    backlog.add(("a", 0), ahead=True)
    backlog.add(("a", 0))
    backlog.done(("a", 0))
    assert drain(backlog) == [("a", 0), ("a", 1)]


def test_limit_of_zero_still_lets_one_run() -> None:
    backlog = a_backlog(limit=0)
    backlog.add(("a", 1))
    backlog.add(("a", 2))
    assert drain(backlog) == [("a", 1)]


def test_backoff_doubles_from_one_second_to_five_minutes() -> None:
    backlog = a_backlog()
    delays = [backlog.retry(("a", 1), now=0) for _ in range(2000)]
    assert delays[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(delays[9:]) == {LONGEST_BACKOFF}


def test_backoff_is_multiplied_with_the_jitter() -> None:
    assert a_backlog(factor=1.2).retry(("a", 1), now=0) == pytest.approx(1.2)


def test_forgotten_key_begins_at_the_shortest_backoff() -> None:
    backlog = a_backlog()
    backlog.retry(("a", 1), now=0)
    backlog.retry(("a", 1), now=0)
    backlog.forget(("a", 1))
    assert backlog.retry(("a", 1), now=0) == 1


def test_one_keys_failures_do_not_slow_another() -> None:
    backlog = a_backlog()
    for _ in range(5):
        backlog.retry(("a", 1), now=0)
    assert backlog.retry(("a", 2), now=0) == 1


def test_queue_is_idle_when_nothing_waits_runs_or_failed() -> None:
    backlog = a_backlog()
    backlog.add(("a", 1))
    assert not backlog.is_idle
    backlog.take()
    assert not backlog.is_idle
    backlog.retry(("a", 1), now=0)
    backlog.done(("a", 1))
    assert not backlog.is_idle
    backlog.forget(("a", 1))
    backlog.add_after(("a", 1), 600, now=0)
    assert backlog.is_idle


def test_delayed_key_runs_at_its_earliest_moment() -> None:
    backlog = a_backlog()
    backlog.add_after(("a", 1), 10, now=0)
    backlog.add_after(("a", 1), 5, now=0)
    backlog.add_after(("a", 1), 20, now=0)
    assert backlog.next_moment() == 5
    assert backlog.promote(now=4.9) == []
    assert backlog.promote(now=5) == [("a", 1)]
    assert backlog.next_moment() is None
    assert drain(backlog) == [("a", 1)]


def test_unhurried_keys_run_one_at_a_time_and_hold_up_nobody() -> None:
    backlog = a_backlog(limit=2)
    for number in range(9):
        backlog.add_after(("a", number), 5, now=0, unhurried=True)
    backlog.promote(now=5)
    assert drain(backlog) == [("a", 0)]
    backlog.add(("a", 20))
    backlog.add(("a", 21))
    assert drain(backlog) == [("a", 20)]
    backlog.done(("a", 20))
    assert drain(backlog) == [("a", 21)]
    backlog.done(("a", 0))
    assert drain(backlog) == [("a", 1)]


def test_unhurried_keys_wait_for_a_slow_one_no_longer_than_a_moment() -> None:
    """A tenant with hundreds of slow ones would keep the others' from their turns."""
    backlog = a_backlog(limit=2)
    for number in range(9):
        backlog.add_after(("a", number), 5, now=0, unhurried=True)
    backlog.promote(now=5)
    assert drain(backlog) == [("a", 0)]
    assert backlog.next_moment() == 5 + LONG_RUN
    backlog.promote(now=5 + LONG_RUN)
    assert backlog.next_moment() is None
    assert drain(backlog) == [("a", 1)]
    backlog.done(("a", 1))
    assert drain(backlog) == [("a", 2)]


def test_key_rests_while_nothing_but_an_unhurried_look_is_due() -> None:
    backlog = a_backlog()
    key = ("a", 0)
    assert backlog.is_resting(key)
    backlog.add_after(key, 60, now=0, unhurried=True)
    assert backlog.is_resting(key)
    backlog.add(key)
    assert not backlog.is_resting(key)
    assert backlog.take() == key
    assert not backlog.is_resting(key)
    backlog.done(key)
    assert backlog.is_resting(key)


@pytest.mark.parametrize("is_retry", [True, False])
def test_key_that_is_to_be_looked_at_soon_does_not_rest(*, is_retry: bool) -> None:
    backlog = a_backlog()
    key = ("a", 0)
    if is_retry:
        backlog.retry(key, now=0)
    else:
        backlog.add_after(key, 5, now=0)
    assert not backlog.is_resting(key)


def test_unhurried_key_that_is_woken_waits_no_more() -> None:
    backlog = a_backlog(limit=2)
    for number in range(9):
        backlog.add_after(("a", number), 5, now=0, unhurried=True)
    backlog.promote(now=5)
    assert drain(backlog) == [("a", 0)]
    assert not backlog.add(("a", 8))
    assert drain(backlog) == [("a", 8)]


def test_key_that_is_due_soon_and_unhurried_sooner_waits_for_nobody() -> None:
    backlog = a_backlog(limit=2)
    for number in range(9):
        backlog.add_after(("a", number), 5, now=0, unhurried=True)
    backlog.add_after(("a", 8), 9, now=0)
    backlog.promote(now=9)
    assert drain(backlog) == [("a", 0), ("a", 8)]


def test_run_cancels_what_was_scheduled_before_it() -> None:
    backlog = a_backlog()
    backlog.add_after(("a", 1), 10, now=0)
    backlog.add(("a", 1))
    assert drain(backlog) == [("a", 1)]
    backlog.done(("a", 1))
    assert backlog.next_moment() is None
    assert backlog.promote(now=100) == []


def test_run_keeps_what_was_scheduled_during_it() -> None:
    backlog = a_backlog()
    backlog.add(("a", 1))
    backlog.take()
    backlog.retry(("a", 1), now=0)
    backlog.done(("a", 1))
    assert backlog.promote(now=1) == [("a", 1)]


class QueueLaws(RuleBasedStateMachine):
    """Whatever happens in whatever order, no law breaks and no key is lost."""

    keys = st.tuples(st.sampled_from("ab"), st.integers(0, 3))

    def __init__(self) -> None:
        super().__init__()
        self.backlog = a_backlog(
            capacity=CAPACITY,
            limit=LIMIT,
            turn_of=lambda key: key[1] % 2,
            place_of=lambda key: key[1] // 2,
        )
        self.now = 0.0
        # Until when a key that runs has others wait that are in no hurry.
        self.running: dict[Key, float] = {}
        # Whether a key is owed or is due as one that is in no hurry.
        self.owed: dict[Key, bool] = {}
        self.due: dict[Key, tuple[float, bool]] = {}

    @rule(key=keys, ahead=st.booleans())
    def add(self, key: Key, *, ahead: bool) -> None:
        """A wake."""
        self.backlog.add(key, ahead=ahead)
        self.owed[key] = False

    @rule(key=keys, delay=st.integers(0, 5), unhurried=st.booleans())
    def add_after(self, key: Key, delay: int, *, unhurried: bool) -> None:
        """A resync or a retry."""
        self.backlog.add_after(key, delay, now=self.now, unhurried=unhurried)
        moment, waits = self.due.get(key, (self.now + delay, True))
        self.due[key] = min(moment, self.now + delay), unhurried and waits

    @rule(key=keys, at_least=st.integers(0, 5))
    def retry(self, key: Key, at_least: int) -> None:
        """A failure."""
        delay = self.backlog.retry(key, now=self.now, at_least=at_least)
        self.backlog.forget(key)
        moment, _ = self.due.get(key, (self.now + delay, True))
        self.due[key] = min(moment, self.now + delay), False

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds
        self.backlog.promote(now=self.now)
        for key in [key for key, due in self.due.items() if due[0] <= self.now]:
            _, unhurried = self.due.pop(key)
            waits = unhurried and key not in self.running
            self.owed[key] = waits and self.owed.get(key, True)

    @rule()
    def take(self) -> None:
        """A worker is free."""
        key = self.backlog.take()
        if key is not None:
            assert key in self.owed
            assert key not in self.running
            self.due.pop(key, None)
            self.running[key] = self.now + LONG_RUN * self.owed.pop(key)
        else:
            assert len(self.running) == CAPACITY or all(
                self._is_blocked(key) for key in self.owed
            )

    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """A worker ends."""
        if self.running:
            key = data.draw(st.sampled_from([*self.running]))
            del self.running[key]
            self.backlog.done(key)

    @invariant()
    def limits_hold(self) -> None:
        """No more than allowed run, in all and in each group."""
        assert len(self.running) <= CAPACITY
        for group in "ab":
            running = [key for key in self.running if key[0] == group]
            assert len(running) <= LIMIT
            assert sum(self.running[key] > self.now for key in running) <= 1

    @invariant()
    def next_moment_is_the_earliest(self) -> None:
        """The queue sleeps no longer than it may."""
        waiting = {key[0] for key, waits in self.owed.items() if waits}
        moments = [moment for moment, _ in self.due.values()]
        for key, until in self.running.items():
            if until > self.now and key[0] in waiting:
                moments.append(until)
        assert self.backlog.next_moment() == min(moments, default=None)

    def teardown(self) -> None:
        """Whoever waits has a turn once those before it are done."""
        for _ in range(2 * (len(self.owed) + len(self.running))):
            for key in [*self.running]:
                del self.running[key]
                self.backlog.done(key)
            for _ in range(CAPACITY):
                self.take()
        assert not self.owed
        assert self.backlog.is_idle

    def _is_blocked(self, key: Key) -> bool:
        beside = [other for other in self.running if other[0] == key[0]]
        moments = [self.running[other] for other in beside]
        waits = self.owed[key] and max(moments, default=0) > self.now
        return key in self.running or len(beside) == LIMIT or waits


TestQueueLaws = QueueLaws.TestCase
TestQueueLaws.settings = settings(stateful_step_count=40)


async def test_queue_hands_a_key_to_who_waits_for_it() -> None:
    queue = WorkQueue(a_backlog(), clock=Clock())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(("a", 1))
    assert await waiting == ("a", 1)


async def test_queue_hands_an_unhurried_key_that_is_woken_to_who_waits_for_it() -> None:
    queue = WorkQueue(a_backlog(limit=2), clock=Clock())
    for number in range(2):
        queue.add_after(("a", number), 0, unhurried=True)
    assert await queue.get() == ("a", 0)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(("a", 1))
    assert await waiting == ("a", 1)


async def test_queue_wakes_for_a_delayed_key() -> None:
    queue = WorkQueue(a_backlog(), clock=asyncio.get_running_loop().time)
    queue.add_after(("a", 1), 0.001)
    assert await queue.get() == ("a", 1)


async def test_closed_queue_hands_out_nothing_more() -> None:
    queue = WorkQueue(a_backlog(), clock=Clock())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    assert await waiting is None
    queue.add(("a", 1))
    assert await queue.get() is None


async def test_queue_tells_each_new_key_and_each_retry() -> None:
    added: list[Key] = []
    retried: list[Key] = []
    clock = Clock()
    queue = WorkQueue(
        a_backlog(), clock=clock, on_add=added.append, on_retry=retried.append
    )
    queue.add(("a", 1))
    queue.add(("a", 1))
    await queue.get()
    queue.retry(("a", 1))
    queue.done(("a", 1))
    clock.time = 1.0
    await queue.get()
    assert added == [("a", 1), ("a", 1)]
    assert retried == [("a", 1)]
