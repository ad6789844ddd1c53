"""One of several leads; who cannot be sure of it does not write."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from pg_operator.kube.errors import Conflict, KubernetesError, NotFound, Unreachable
from pg_operator.kube.lease import Lease
from pg_operator.runtime.election import Elector, LeadershipLost, log_end

# How long others must wait for one that was not heard of, and how long it may write.
LEASE, DEADLINE = 15.0, 10.0


class FakeLock:
    """A Lease in memory, on an API server that can be away."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.is_away = False
        # The next write is stored, and its answer lost.
        self.loses_answer = False
        # How long the answer to the next write takes, in seconds.
        self.answer_takes = 0.0
        # A watch tells of a change, not of the end of its time.
        self.tells_at_once = False
        self.writes = 0
        self._version = 0

    async def read(self) -> Lease:
        """Return it, or raise."""
        self._ask()
        if self.lease is None:
            raise NotFound("no lease")
        return self.lease

    async def create(self, holder: str, *, seconds: float) -> Lease:
        """Make it unless it is there."""
        assert seconds == LEASE
        self._ask()
        if self.lease is not None:
            raise Conflict("there is one")
        return self._store(Lease(holder, "", 0))

    async def write(
        self, lease: Lease, holder: str, *, seconds: float, settled_by: str = ""
    ) -> Lease:
        """Change it unless it changed."""
        assert seconds == (LEASE if holder else 1)
        self._ask()
        if self.lease is None:
            raise NotFound("no lease")
        if self.lease.version != lease.version:
            raise Conflict("changed")
        stored = self._store(replace(lease, holder=holder, settled_by=settled_by))
        seconds, self.answer_takes = self.answer_takes, 0.0
        if seconds:
            await self.pass_time(seconds)
        return stored

    async def next(self, lease: Lease, *, seconds: float) -> Lease | None:
        """Return what it became, or let the time pass."""
        self._ask()
        await self.pass_time(0 if self.tells_at_once else seconds)
        return self.lease if self.lease != lease else None

    async def pass_time(self, seconds: float) -> None:
        """Overwritten by the scene."""

    def touch(self) -> None:
        """Change something that is not the holder."""
        assert self.lease is not None
        self._store(self.lease)

    def _store(self, lease: Lease) -> Lease:
        self.writes += 1
        self._version += 1
        self.lease = replace(lease, version=str(self._version))
        if self.loses_answer:
            self.loses_answer = False
            raise Unreachable("no answer")
        return self.lease

    def _ask(self) -> None:
        if self.is_away:
            raise Unreachable("away")


class Scene:
    """A clock, a Lease, and candidates; while one waits, `meanwhile` happens."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lock = FakeLock()
        self.lock.pass_time = self.pause  # type: ignore[method-assign]
        self.meanwhile: list[Callable[[], object]] = []

    def candidate(self, name: str) -> Elector:
        """Return a new one."""
        return Elector(
            self.lock, identity=name, clock=lambda: self.now, pause=self.pause
        )

    async def pause(self, seconds: float) -> None:
        """Let the time pass and the next thing happen; the test ends with the last."""
        self.now += seconds
        if not self.meanwhile:
            raise asyncio.CancelledError
        result = self.meanwhile.pop(0)()
        if asyncio.iscoroutine(result):
            await result

    async def keep(self, elector: Elector, *events: Callable[[], object]) -> None:
        """Keep the leadership for as many pauses as there are events."""
        self.meanwhile = list(events)
        with suppress(asyncio.CancelledError):
            await elector.keep()

    def wait(self, seconds: float) -> None:
        """Let the time pass, with every process asleep."""
        self.now += seconds

    @property
    def holder(self) -> str:
        """Who leads, by the Lease."""
        assert self.lock.lease is not None
        return self.lock.lease.holder


@pytest.fixture
def scene() -> Scene:
    return Scene()


def nothing() -> None:
    pass


async def test_first_candidate_leads_at_once(scene: Scene) -> None:
    elector = scene.candidate("a")
    assert not elector.is_leading()
    await elector.acquire()
    assert elector.is_leading()
    assert scene.holder == "a"


async def test_leader_may_write_until_the_deadline_of_its_last_renewal(
    scene: Scene,
) -> None:
    elector = scene.candidate("a")
    await elector.acquire()
    scene.wait(DEADLINE - 0.1)
    assert elector.is_leading()
    scene.wait(0.1)
    assert not elector.is_leading()


async def test_renewals_keep_the_leadership(scene: Scene) -> None:
    elector = scene.candidate("a")
    await elector.acquire()
    await scene.keep(elector, *[nothing] * 20)
    assert scene.now > 1000 + 2 * LEASE
    assert elector.is_leading()


async def test_candidate_waits_for_a_leader_that_renews(scene: Scene) -> None:
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    scene.meanwhile = [scene.lock.touch] * 5
    with pytest.raises(asyncio.CancelledError):
        await other.acquire()
    assert not other.is_leading()
    assert scene.holder == "a"


async def test_silent_leader_is_followed_after_the_lease_and_not_before(
    scene: Scene,
) -> None:
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    began = scene.now
    scene.meanwhile = [nothing]
    await other.acquire()
    assert scene.now == began + LEASE
    assert other.is_leading()
    assert not leader.is_leading()


async def test_given_up_leadership_is_taken_without_waiting(scene: Scene) -> None:
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    began = scene.now
    scene.meanwhile = [leader.release]
    scene.lock.tells_at_once = True
    await other.acquire()
    assert scene.now == began
    assert (scene.holder, leader.is_leading()) == ("b", False)


async def test_what_a_leader_leaves_is_for_the_next_one_only(scene: Scene) -> None:
    first, second, third = (scene.candidate(name) for name in "abc")
    assert await first.acquire() == ""
    await scene.keep(first, nothing, nothing)
    await first.release(settled_by="1.2.3")
    assert await second.acquire() == "1.2.3"
    await scene.keep(second, nothing, nothing)
    await second.release()
    assert await third.acquire() == ""


async def test_who_takes_over_from_a_dead_leader_is_left_nothing(scene: Scene) -> None:
    first, second, third = (scene.candidate(name) for name in "abc")
    await first.acquire()
    await first.release(settled_by="1.2.3")
    await second.acquire()
    scene.meanwhile = [nothing] * 9
    assert await third.acquire() == ""


async def test_who_learns_too_late_that_it_led_is_left_nothing(scene: Scene) -> None:
    """Another one may have worked since, and ended in whatever way."""
    first, late, dead = (scene.candidate(name) for name in "abc")
    await first.acquire()
    await first.release(settled_by="1.2.3")
    scene.lock.answer_takes = DEADLINE
    scene.meanwhile = [dead.acquire, *[nothing] * 9]
    assert await late.acquire() == ""
    assert scene.holder == "b"


async def test_errors_of_the_api_server_do_not_prolong_a_dead_leaders_time(
    scene: Scene,
) -> None:
    """What was seen before counts, though it has to be read again."""
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    began = scene.now

    def come_back() -> None:
        scene.lock.is_away = False

    scene.meanwhile = [come_back, nothing]

    async def cut(lease: Lease, *, seconds: float) -> Lease | None:
        scene.lock.next = original  # type: ignore[method-assign]
        scene.lock.is_away = True
        raise KubernetesError("cut")

    original = scene.lock.next
    scene.lock.next = cut  # type: ignore[method-assign]
    await other.acquire()
    assert scene.now == began + LEASE


async def test_leader_without_an_api_server_ends_after_its_deadline(
    scene: Scene,
) -> None:
    elector = scene.candidate("a")
    await elector.acquire()
    scene.lock.is_away = True
    with pytest.raises(LeadershipLost):
        await scene.keep(elector, *[nothing] * 20)
    assert scene.now < 1000 + LEASE


async def test_short_absence_of_the_api_server_costs_nothing(scene: Scene) -> None:
    elector = scene.candidate("a")
    await elector.acquire()

    def go() -> None:
        scene.lock.is_away = True

    def come_back() -> None:
        scene.lock.is_away = False

    await scene.keep(elector, go, nothing, come_back, *[nothing] * 10)
    assert elector.is_leading()


async def test_leader_that_was_frozen_ends_before_it_asks_anybody(scene: Scene) -> None:
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    writes = scene.lock.writes
    with pytest.raises(LeadershipLost):
        await scene.keep(leader, lambda: scene.wait(60), nothing)
    assert scene.lock.writes == writes
    await other.acquire()
    assert scene.holder == "b"


async def test_leader_ends_when_another_holds_the_lease(scene: Scene) -> None:
    """Somebody edited it by hand, or restored a backup."""
    elector = scene.candidate("a")
    await elector.acquire()

    def usurp() -> None:
        assert scene.lock.lease is not None
        scene.lock.lease = replace(scene.lock.lease, holder="b", version="x")

    with pytest.raises(LeadershipLost):
        await scene.keep(elector, usurp, nothing)


@pytest.mark.parametrize("accident", ["touched", "deleted", "answer lost"])
async def test_accident_with_the_lease_does_not_end_a_leader(
    scene: Scene, accident: str
) -> None:
    elector = scene.candidate("a")
    await elector.acquire()

    def happen() -> None:
        match accident:
            case "touched":
                scene.lock.touch()
            case "deleted":
                scene.lock.lease = None
            case _:
                scene.lock.loses_answer = True

    await scene.keep(elector, happen, *[nothing] * 10)
    assert elector.is_leading()
    assert scene.holder == "a"


async def test_of_two_candidates_one_wins(scene: Scene) -> None:
    """Both see that nobody leads; the API server takes one of the writes."""
    first, second = scene.candidate("a"), scene.candidate("b")
    scene.meanwhile = []
    read = scene.lock.read

    async def read_and_lose() -> Lease:
        scene.lock.read = read  # type: ignore[method-assign]
        try:
            return await read()
        finally:
            await first.acquire()

    scene.lock.read = read_and_lose  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await second.acquire()
    assert (scene.holder, scene.lock.writes) == ("a", 1)


async def test_who_lost_the_leadership_does_not_give_it_up(scene: Scene) -> None:
    leader, other = scene.candidate("a"), scene.candidate("b")
    await leader.acquire()
    scene.meanwhile = [nothing]
    await other.acquire()
    await leader.release()
    assert scene.holder == "b"


def test_process_that_lost_the_leadership_ends_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = ExceptionGroup("inner", [LeadershipLost("no renewal in 10 s")])
    log_end(ExceptionGroup("outer", [lost]))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith("no renewal in 10 s")
    assert record.exc_info is None


def test_process_that_broke_ends_with_all_that_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bug = RuntimeError("a bug")
    log_end(ExceptionGroup("outer", [LeadershipLost("too late"), bug]))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
