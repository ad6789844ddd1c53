"""A soak says what grows in processes that live on, and nothing of new ones."""

from collections.abc import Sequence

import pytest

from tests.soak.growth import Held, Sample, growth

FLAT = Held(1, 100.0, 20)


def samples(*held: Held, sessions: int = 4, log: int = 1000) -> Sequence[Sample]:
    """Return samples of one process, a step after the other."""
    return [
        Sample(number, {"controller": one}, sessions, number * log)
        for number, one in enumerate(held)
    ]


def test_process_that_holds_what_it_held_has_not_grown() -> None:
    assert growth(samples(FLAT, Held(1, 104.0, 22), FLAT)) == []


@pytest.mark.parametrize(
    ("last", "word"), [(Held(1, 130.0, 20), "30 MB"), (Held(1, 100.0, 60), "40 more")]
)
def test_memory_and_files_that_grow_are_told(last: Held, word: str) -> None:
    (problem,) = growth(samples(FLAT, FLAT, last))
    assert word in problem


def test_sessions_and_log_beyond_their_bounds_are_told() -> None:
    (of_log,) = growth(samples(FLAT, FLAT, log=50_000))
    assert "bytes of log" in of_log
    of_sessions = growth(samples(FLAT, FLAT, sessions=5))
    assert all("sessions" in problem for problem in of_sessions)
    assert of_sessions


def test_new_process_is_not_held_against_the_old_one() -> None:
    small = Held(2, 60.0, 10)
    assert growth(samples(small, FLAT, FLAT, FLAT)) == []


def test_processes_that_never_live_long_prove_nothing() -> None:
    short_lived = [Held(pid, 100.0, 20) for pid in range(5)]
    (problem,) = growth(samples(*short_lived))
    assert "long enough" in problem
